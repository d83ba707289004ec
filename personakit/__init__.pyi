from personakit.api import evaluate as evaluate
from personakit.contracts import ContextProvider as ContextProvider
from personakit.contracts import LanguageModel as LanguageModel
from personakit.contracts import Personalizer as Personalizer
from personakit.contracts import Selector as Selector
from personakit.errors import RunError as RunError
from personakit.errors import UserError as UserError
from personakit.method import FinishedRun as FinishedRun
from personakit.method import Method as Method
from personakit.method import OpenOptions as OpenOptions
from personakit.method import Plan as Plan
from personakit.methods import METHODS as METHODS
from personakit.methods import open_run as open_run
from personakit.methods import read_run as read_run
from personakit.methods.training import train as train
from personakit.records import Answer as Answer
from personakit.records import Context as Context
from personakit.records import Example as Example
from personakit.records import Instruction as Instruction
from personakit.records import Pool as Pool
from personakit.records import PreferencePair as PreferencePair
from personakit.records import PreferenceUser as PreferenceUser
from personakit.records import Profile as Profile
from personakit.records import ProfileItem as ProfileItem
from personakit.records import Query as Query
from personakit.records import Signals as Signals

__version__: str
