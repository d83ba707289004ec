"""A decoder body that computes shared prefixes once: `share_prefixes(model)`.

The body (`LlamaModel`, not `LlamaForCausalLM`) takes the same (B, T) batch and returns the same
(B, T, d) hidden states; between, it runs one unpadded row in which every stretch of tokens that rows
share stands once (`packing`). Trainers, heads, adapters and `generate` around it need no change.

What it cannot serve goes to the body's own forward: calls with embeddings, with 4-d masks, with tensors
that a packed row cannot follow (images, token types), with positions that restart, asking for attentions
or hidden states of every layer, with a cache of another kind, with active attention dropout, with a
sliding window shorter than the rows, with another adapter for each row - and batches in which
less than `LEAST_SHARE` would be saved. A model that it cannot serve at all is told once, as a warning.

Dropout other than the attention's (an adapter's, say) stays: rows that share a stretch share its mask.
"""

from __future__ import annotations

import logging
import threading
import types
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from personakit.models.shared_prefix import check, last_layer
from personakit.models.shared_prefix.decoding import SharedPrefixDecoding, spared, write_rows
from personakit.models.shared_prefix.interface import NAME, PackedPass, Pass, Prefill, register
from personakit.models.shared_prefix.packing import Packing, pack

_log = logging.getLogger(__name__)

#: A batch of which less than this share of tokens (padding included) would be saved runs as it is.
LEAST_SHARE = 0.1
# What a packed row cannot give.
_UNSERVED = ("output_attentions", "output_hidden_states", "output_router_logits")
# Tells the body that its mask is made: transformers hands 4-d masks on as they are.
_NO_MASK = (1, 1, 1, 1)


@dataclass
class Sharing:
    """How a body shares prefixes, and how much it has saved."""

    reason: str | None = None
    """Why it does not share; None while it does."""
    installed: bool = True
    """Whether the body's forward is ours, so that `wanted` works even where nothing is shared."""
    way: str | None = None
    """The attention's way (`attention.attend`); None: the device's."""
    least_spared: int = 256
    """Decode over shared states from so many spared for each call that it costs (`decoding.spared`)."""
    least_share: float = LEAST_SHARE
    """Pack batches of which at least this share of tokens is saved."""
    trims: bool = False
    """Whether its last layer runs only the tokens that are wanted (`last_layer.py`)."""
    checked: bool = False
    """Whether this body has been compared with its own dense pass."""
    dense_tokens: int = 0
    """Tokens, padding included, of the batches without a cache that it has seen."""
    computed_tokens: int = 0
    """Tokens that it ran for them."""
    told: set[str] = field(default_factory=set)
    """What has been said once."""
    _wanted: dict[int, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def wanted(self) -> torch.Tensor | None:
        """(B, T) bool, set by a caller that will read only these positions of its next call, in its thread:
        it is returned their hidden states alone, (1, n, d).
        """
        return self._wanted.get(threading.get_ident())

    @wanted.setter
    def wanted(self, positions: torch.Tensor | None) -> None:
        self._wanted.pop(threading.get_ident(), None)
        if positions is not None:
            self._wanted[threading.get_ident()] = positions

    def tell(self, what: str) -> None:
        """Warn of `what`, once."""
        if what not in self.told:
            self.told.add(what)
            _log.warning("shared prefixes: %s", what)


def share_prefixes(model: Any) -> Sharing:
    """Let `model`, a causal language model of transformers or a PEFT model of one, share prefixes.

    In place; again is harmless. Returns the handle; its `reason` says why not, where it cannot.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = causal.base_model
    present: Sharing | None = body.__dict__.get("shared_prefix")
    if present is not None:
        return present
    sharing = Sharing(reason=check.obstacle(causal), installed=check.replaceable(causal))
    if sharing.reason is not None:
        sharing.tell(f"{type(causal).__name__} is run as it is: {sharing.reason}")
    else:
        register()
        body.config._attn_implementation = NAME
        sharing.trims = last_layer.install(body)
    if sharing.installed:
        # A bound method, so that a deep copy of the model is bound to the copy.
        body.forward = types.MethodType(_forward, body)
    body.shared_prefix = sharing
    return sharing


def unshare_prefixes(model: Any) -> None:
    """Undo `share_prefixes`."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = causal.base_model
    sharing = body.__dict__.pop("shared_prefix", None)
    if sharing is None:
        return
    last_layer.uninstall(body)
    if sharing.installed:
        del body.forward
    if body.config._attn_implementation == NAME:
        body.config._attn_implementation = "sdpa"  # the one it must have had


def _forward(
    self: Any,
    input_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    past_key_values: Any = None,
    inputs_embeds: torch.Tensor | None = None,
    use_cache: bool | None = None,
    **kwargs: Any,
) -> Any:
    """The body's forward, with its signature."""
    sharing: Sharing = self.shared_prefix
    wanted, sharing.wanted = sharing.wanted, None
    call = _Call(self, sharing, input_ids, attention_mask, position_ids, past_key_values, kwargs)
    cached = use_cache
    if use_cache is None:  # as the model itself decides
        cached = bool(getattr(self.config, "use_cache", False))
    if isinstance(getattr(past_key_values, "shared_prefix", None), SharedPrefixDecoding):
        return call.decode()
    output = None
    if call.servable(inputs_embeds):
        if not sharing.checked and not call.obstructed():
            check.compare(self, sharing)
            sharing.checked = True
        if sharing.checked and sharing.reason is None and call.fits():
            if cached and past_key_values is not None:
                output = call.prefill(wanted)
            elif not cached and past_key_values is None:
                output = call.packed(wanted)
    return call.dense(wanted, use_cache, inputs_embeds) if output is None else output


class _Call:
    """One call of the body."""

    def __init__(
        self,
        body: Any,
        sharing: Sharing,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        cache: Any,
        rest: dict[str, Any],
    ) -> None:
        self.body, self.sharing, self.input_ids = body, sharing, input_ids
        self.attention_mask, self.position_ids, self.cache, self.rest = (
            attention_mask,
            position_ids,
            cache,
            rest,
        )

    def servable(self, inputs_embeds: torch.Tensor | None) -> bool:
        """Whether this call's arguments can be packed at all."""
        if self.sharing.reason is not None or self.input_ids is None or inputs_embeds is not None:
            return False
        if self.cache is not None and self.input_ids.shape[1] == 1:
            return False  # a step of decoding: nothing to look at, and nothing to lose time over
        if self.attention_mask is not None and self.attention_mask.dim() != 2:
            return False
        if self.position_ids is not None and self._restarts(self.position_ids):
            return False
        return not self._asks_for_unserved() and not any(
            isinstance(value, torch.Tensor) for value in self.rest.values()
        )

    def obstructed(self) -> bool:
        """Whether the model is in a state in which it cannot be packed; says once why."""
        obstacle = check.passing_obstacle(self.body)
        if obstacle is not None:
            self.sharing.tell(obstacle)
        return obstacle is not None

    def fits(self) -> bool:
        """Whether the rows lie within the model's sliding window, if it has one; says once why not."""
        assert self.input_ids is not None
        window = check.window(self.body)
        if window is None or self.input_ids.shape[1] <= window:
            return True
        self.sharing.tell(f"rows longer than the sliding window of {window} tokens are run as they are")
        return False

    def dense(
        self, wanted: torch.Tensor | None, use_cache: bool | None, inputs_embeds: torch.Tensor | None
    ) -> Any:
        """The body's own forward."""
        mask = self.attention_mask
        # Without a mask or a cache, positions that stand still would be read as rows that end there.
        told_apart = self.position_ids is not None and self.cache is None
        if wanted is not None and self.sharing.reason is None and not told_apart:
            # What is wanted sees what precedes it; where that is no padding: no mask, faster kernels.
            mask = None if _ends_in_padding(mask) else mask
        output = type(self.body).forward(
            self.body,
            input_ids=self.input_ids,
            attention_mask=mask,
            position_ids=self.position_ids,
            past_key_values=self.cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **self.rest,
        )
        if self.input_ids is not None and self.cache is None:
            self.sharing.dense_tokens += self.input_ids.numel()
            self.sharing.computed_tokens += self.input_ids.numel()
        if wanted is not None:
            output.last_hidden_state = output.last_hidden_state[wanted][None]
        return output

    def packed(self, wanted: torch.Tensor | None) -> Any:
        """Training and scoring, without a cache; None where too little is shared."""
        packing = self._packing()
        if packing is None:
            return None
        assert self.input_ids is not None
        self.sharing.dense_tokens += self.input_ids.numel()
        self.sharing.computed_tokens += packing.tokens
        how = PackedPass(packing, self.sharing.way)
        places = packing.places if wanted is None else packing.places[wanted][None]
        if wanted is not None and self.sharing.trims:
            trim = last_layer.trimmed(packing, places[0], self.sharing.way)
            if trim is not None:
                how, places = trim, trim.kept.new_place[places]
        output = self._run(how, packing.token_ids, packing.positions)
        output.last_hidden_state = _spread(output.last_hidden_state, places, packing)
        return output

    def prefill(self, wanted: torch.Tensor | None) -> Any:
        """The first step of generation; None where too little is shared."""
        assert self.input_ids is not None
        if not (
            type(self.cache) is DynamicCache
            and self.input_ids.shape[1] > 1
            and self.cache.get_seq_length() == 0
            and all(type(layer) is DynamicLayer for layer in self.cache.layers)
            and not self.cache.offloading
            # Later steps may outgrow the window.
            and check.window(self.body) is None
            # Layers that checkpoint drop the cache.
            and not (self.body.training and getattr(self.body, "is_activation_checkpointing", False))
            and not torch.is_grad_enabled()
        ):
            return None
        packing = self._packing()
        if packing is None:
            return None
        prefill = Prefill(packing, self.sharing.way)
        output = self._run(prefill, packing.token_ids, packing.positions)
        if self.input_ids.device.type == "cpu" and spared(packing) >= self.sharing.least_spared:
            decoding = SharedPrefixDecoding(prefill, self.input_ids.shape[1])
            self.cache.shared_prefix = decoding
            self.cache.layers = decoding.own_layers(prefill)
        else:
            self.cache.layers = write_rows(prefill)
        places = packing.places if wanted is None else packing.places[wanted][None]
        output.last_hidden_state = _spread(output.last_hidden_state, places, packing)
        output.past_key_values = self.cache
        return output

    def decode(self) -> Any:
        """Later steps of generation, after a `prefill` whose prompts stayed shared."""
        if self.input_ids is None or self._asks_for_unserved():
            raise ValueError(
                "a cache with shared prompts takes token ids, and gives no attentions or hidden states "
                "of every layer: personakit.models.shared_prefix.unshare_prefixes(model) goes back to those"
            )
        decoding: SharedPrefixDecoding = self.cache.shared_prefix
        with decoding.step(self.attention_mask, self.cache.get_seq_length(), self.input_ids.shape[1]):
            return self._run(decoding, self.input_ids, self.position_ids, self.cache)

    def _asks_for_unserved(self) -> bool:
        config = self.body.config
        asked = (self.rest.get(name, getattr(config, name, None)) for name in _UNSERVED)
        if any(value is not None and value is not False for value in asked):
            return True
        return self.rest.get("return_dict", getattr(config, "return_dict", True)) is False

    def _restarts(self, positions: torch.Tensor) -> bool:
        """Whether transformers would read each row as several, one behind the other."""
        if positions.dim() > 2:
            return True  # of several kinds; not a text's
        unmasked = self.attention_mask is None and self.cache is None
        return unmasked and not bool((positions.diff(dim=-1) == 1).all())

    def _packing(self) -> Packing | None:
        assert self.input_ids is not None
        rows, columns = self.input_ids.shape
        if rows == 1 and (self.attention_mask is None or bool(self.attention_mask.all())):
            return None
        packing = pack(self.input_ids, self.attention_mask, self.position_ids)
        worth = 0 < packing.tokens <= (1 - self.sharing.least_share) * rows * columns
        return packing if worth and not self.obstructed() else None

    def _run(
        self, how: Pass, input_ids: torch.Tensor, positions: torch.Tensor | None, cache: Any = None
    ) -> Any:
        return type(self.body).forward(
            self.body,
            input_ids=input_ids,
            attention_mask=torch.empty(_NO_MASK, dtype=torch.bool, device=input_ids.device),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            shared_prefix=how,
            **self.rest,
        )


def _ends_in_padding(mask: torch.Tensor | None) -> bool:
    """Whether padding stands only behind the tokens of every row."""
    if mask is None or mask.dim() != 2:
        return False
    return bool(mask[:, 0].all()) and bool((mask[:, 1:] <= mask[:, :-1]).all())


def _spread(hidden: torch.Tensor, places: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Hidden states (1, N, d) at `places` (B, T), zero on padding."""
    states = hidden[0]
    if bool((places == packing.tokens).any()):
        states = torch.cat([states, states.new_zeros(1, states.shape[1])])
    return states.index_select(0, places.flatten()).view(*places.shape, states.shape[1])
