from personakit.api import evaluate as evaluate
from personakit.contracts import Personalizer as Personalizer
from personakit.methods import open_run as open_run
from personakit.methods.training import train as train
from personakit.records import Answer as Answer
from personakit.records import Context as Context
from personakit.records import Example as Example
from personakit.records import Instruction as Instruction
from personakit.records import PreferencePair as PreferencePair
from personakit.records import Profile as Profile
from personakit.records import ProfileItem as ProfileItem
from personakit.records import Query as Query

__version__: str
