"""Replaces a decoder body's forward with one that computes common prefixes once: `share_prefixes(model)`.

The body (`LlamaModel`, not `LlamaForCausalLM`) takes the same (B, T) batch and returns the same (B, T, d)
hidden states. Internally it runs one unpadded row that contains every common prefix of rows once (`packing`).
Trainers, heads, adapters and `generate` need no change.

Some calls run the body's own forward: calls with embeddings, 4-d masks, or additional tensors (images, token
types); positions that restart; attentions or hidden states of every layer in the output; other types of
cache; active attention dropout; a sliding window shorter than the rows; a different adapter per row; and
batches in which less than `MIN_SAVED_SHARE` of the tokens would be saved. If a model cannot share prefixes at
all, one warning says so.

Dropout outside the attention (for example an adapter's) stays active: rows that share a prefix share its
mask.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from personakit.models.shared_prefix import check, last_layer
from personakit.models.shared_prefix.decoding import SharedPrefixDecoding, saved_states, write_rows
from personakit.models.shared_prefix.interface import (
    NAME,
    PackedPass,
    Pass,
    Prefill,
    cache_argument,
    register,
)
from personakit.models.shared_prefix.packing import Packing, pack
from personakit.models.shared_prefix.sharing import Sharing

# Outputs that a packed row cannot provide.
_UNAVAILABLE_OUTPUTS = ("output_attentions", "output_hidden_states", "output_router_logits")
# A mask of this shape replaces the model's own: transformers passes 4-d masks on unchanged.
_NO_MASK = (1, 1, 1, 1)


def share_prefixes(model: Any) -> Sharing:
    """Let `model`, a causal language model of transformers or a PEFT model of one, share prefixes, in place.

    Repeated calls have no effect. Returns the state; its `reason` says why the model cannot share prefixes.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = causal.base_model
    present: Sharing | None = body.__dict__.get("shared_prefix")
    if present is not None:
        return present
    sharing = Sharing(reason=check.obstacle(causal), installed=check.replaceable(causal))
    if sharing.reason is not None:
        sharing.warn_once(f"{type(causal).__name__} runs without shared prefixes: {sharing.reason}")
    else:
        register()
        body.config._attn_implementation = NAME
        sharing.trims_last_layer = last_layer.install(body)
    if sharing.installed:
        # A bound method, so that a deep copy of the model gets its own.
        body.forward = types.MethodType(_forward, body)
    body.shared_prefix = sharing
    return sharing


def unshare_prefixes(model: Any) -> None:
    """Restore the model's own forward and attention."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    body = causal.base_model
    sharing = body.__dict__.pop("shared_prefix", None)
    if sharing is None:
        return
    last_layer.uninstall(body)
    if sharing.installed:
        del body.forward
    if body.config._attn_implementation == NAME:
        body.config._attn_implementation = "sdpa"  # the only one that `obstacle` accepts


def _forward(
    self: Any,
    input_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    past_key_values: Any = None,
    inputs_embeds: torch.Tensor | None = None,
    use_cache: bool | None = None,
    cache: Any = None,
    **kwargs: Any,
) -> Any:
    """The body's forward, with its signature: the cache has one of two names (`cache_argument`)."""
    cache = past_key_values if cache is None else cache
    sharing: Sharing = self.shared_prefix
    output_positions, sharing.output_positions = sharing.output_positions, None
    call = _Call(self, sharing, input_ids, attention_mask, position_ids, cache, kwargs)
    uses_cache = use_cache
    if use_cache is None:  # the model's own default
        uses_cache = bool(getattr(self.config, "use_cache", False))
    if isinstance(getattr(cache, "shared_prefix", None), SharedPrefixDecoding):
        return call.decode()
    output = None
    if call.can_pack_arguments(inputs_embeds):
        if not sharing.checked and not call.is_obstructed():
            check.compare(self, sharing)
            sharing.checked = True
        if sharing.checked and sharing.reason is None and call.fits_window():
            if uses_cache and cache is not None:
                output = call.prefill(output_positions)
            elif not uses_cache and cache is None:
                output = call.packed(output_positions)
    return call.dense(output_positions, use_cache, inputs_embeds) if output is None else output


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
        other_arguments: dict[str, Any],
    ) -> None:
        self.body, self.sharing, self.input_ids = body, sharing, input_ids
        self.attention_mask, self.position_ids, self.cache, self.other_arguments = (
            attention_mask,
            position_ids,
            cache,
            other_arguments,
        )

    def can_pack_arguments(self, inputs_embeds: torch.Tensor | None) -> bool:
        """Return whether this call's arguments can be packed at all."""
        if self.sharing.reason is not None or self.input_ids is None or inputs_embeds is not None:
            return False
        if self.cache is not None and self.input_ids.shape[1] == 1:
            return False  # a decoding step: nothing to share
        if self.attention_mask is not None and self.attention_mask.dim() != 2:
            return False
        if self.position_ids is not None and self._positions_restart(self.position_ids):
            return False
        return not self._requests_unavailable_outputs() and not any(
            isinstance(value, torch.Tensor) for value in self.other_arguments.values()
        )

    def is_obstructed(self) -> bool:
        """Return whether the model's current state prevents packing, with one warning."""
        obstacle = check.temporary_obstacle(self.body)
        if obstacle is not None:
            self.sharing.warn_once(obstacle)
        return obstacle is not None

    def fits_window(self) -> bool:
        """Return whether the rows fit in the model's sliding window, if it has one; else warn once."""
        assert self.input_ids is not None
        window = check.window(self.body)
        if window is None or self.input_ids.shape[1] <= window:
            return True
        self.sharing.warn_once(
            f"rows longer than the sliding window of {window} tokens run without shared prefixes"
        )
        return False

    def dense(
        self,
        output_positions: torch.Tensor | None,
        use_cache: bool | None,
        inputs_embeds: torch.Tensor | None,
    ) -> Any:
        """Run the body's own forward."""
        mask = self.attention_mask
        # Without mask and cache, transformers would interpret constant positions as several packed sequences.
        positions_may_restart = self.position_ids is not None and self.cache is None
        if output_positions is not None and self.sharing.reason is None and not positions_may_restart:
            # The needed tokens only see earlier ones. If those are no padding, no mask is needed, which is
            # faster.
            mask = None if _ends_in_padding(mask) else mask
        output = type(self.body).forward(
            self.body,
            input_ids=self.input_ids,
            attention_mask=mask,
            position_ids=self.position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **{self._cache_argument: self.cache},
            **self.other_arguments,
        )
        if self.input_ids is not None and self.cache is None:
            self.sharing.dense_tokens += self.input_ids.numel()
            self.sharing.computed_tokens += self.input_ids.numel()
        if output_positions is not None:
            output.last_hidden_state = output.last_hidden_state[output_positions][None]
        return output

    def packed(self, output_positions: torch.Tensor | None) -> Any:
        """Run a packed pass without a cache (training, scoring). Return None if too little is shared."""
        packing = self._packing()
        if packing is None:
            return None
        assert self.input_ids is not None
        self.sharing.dense_tokens += self.input_ids.numel()
        self.sharing.computed_tokens += packing.tokens
        attention_pass = PackedPass(packing, self.sharing.backend)
        places = packing.places if output_positions is None else packing.places[output_positions][None]
        if output_positions is not None and self.sharing.trims_last_layer:
            trim = last_layer.trimmed(packing, places[0], self.sharing.backend)
            if trim is not None:
                attention_pass, places = trim, trim.kept.new_place[places]
        output = self._run(attention_pass, packing.token_ids, packing.positions)
        output.last_hidden_state = _gather(output.last_hidden_state, places, packing)
        return output

    def prefill(self, output_positions: torch.Tensor | None) -> Any:
        """Run the first step of generation. Return None if too little is shared."""
        assert self.input_ids is not None
        if not (
            type(self.cache) is DynamicCache
            and self.input_ids.shape[1] > 1
            and self.cache.get_seq_length() == 0
            and all(type(layer) is DynamicLayer for layer in self.cache.layers)
            and not self.cache.offloading
            # Later steps may exceed the window.
            and check.window(self.body) is None
            # Layers with gradient checkpointing drop the cache.
            and not (self.body.training and getattr(self.body, "is_activation_checkpointing", False))
            and not torch.is_grad_enabled()
        ):
            return None
        packing = self._packing()
        if packing is None:
            return None
        prefill = Prefill(packing, self.sharing.backend)
        output = self._run(prefill, packing.token_ids, packing.positions)
        if self.input_ids.device.type == "cpu" and saved_states(packing) >= self.sharing.min_saved_states:
            decoding = SharedPrefixDecoding(prefill, self.input_ids.shape[1])
            self.cache.shared_prefix = decoding
            self.cache.layers = decoding.cache_layers(prefill)
        else:
            self.cache.layers = write_rows(prefill)
        places = packing.places if output_positions is None else packing.places[output_positions][None]
        output.last_hidden_state = _gather(output.last_hidden_state, places, packing)
        output[self._cache_argument] = self.cache
        return output

    def decode(self) -> Any:
        """Run a decoding step after a `prefill` whose prompts stay shared."""
        if self.input_ids is None or self._requests_unavailable_outputs():
            raise ValueError(
                "a cache with shared prompts takes token ids, and returns no attentions or hidden states of "
                "every layer; call personakit.models.shared_prefix.unshare_prefixes(model) to get those"
            )
        decoding: SharedPrefixDecoding = self.cache.shared_prefix
        with decoding.step(self.attention_mask, self.cache.get_seq_length(), self.input_ids.shape[1]):
            return self._run(decoding, self.input_ids, self.position_ids, self.cache)

    @property
    def _cache_argument(self) -> str:
        return cache_argument(self.body)

    def _requests_unavailable_outputs(self) -> bool:
        config = self.body.config
        requested = (
            self.other_arguments.get(name, getattr(config, name, None)) for name in _UNAVAILABLE_OUTPUTS
        )
        if any(value is not None and value is not False for value in requested):
            return True
        return self.other_arguments.get("return_dict", getattr(config, "return_dict", True)) is False

    def _positions_restart(self, positions: torch.Tensor) -> bool:
        """Return whether transformers would interpret each row as several packed sequences."""
        if positions.dim() > 2:
            return True  # several kinds of positions, as in multimodal models
        unmasked = self.attention_mask is None and self.cache is None
        return unmasked and not bool((positions.diff(dim=-1) == 1).all())

    def _packing(self) -> Packing | None:
        assert self.input_ids is not None
        rows, columns = self.input_ids.shape
        if rows == 1 and (self.attention_mask is None or bool(self.attention_mask.all())):
            return None
        packing = pack(self.input_ids, self.attention_mask, self.position_ids)
        worthwhile = 0 < packing.tokens <= (1 - self.sharing.min_saved_share) * rows * columns
        return packing if worthwhile and not self.is_obstructed() else None

    def _run(
        self, attention_pass: Pass, input_ids: torch.Tensor, positions: torch.Tensor | None, cache: Any = None
    ) -> Any:
        return type(self.body).forward(
            self.body,
            input_ids=input_ids,
            attention_mask=torch.empty(_NO_MASK, dtype=torch.bool, device=input_ids.device),
            position_ids=positions,
            use_cache=cache is not None,
            shared_prefix=attention_pass,
            **{self._cache_argument: cache},
            **self.other_arguments,
        )


def _ends_in_padding(mask: torch.Tensor | None) -> bool:
    """Return whether padding occurs only at the end of rows."""
    if mask is None or mask.dim() != 2:
        return False
    return bool(mask[:, 0].all()) and bool((mask[:, 1:] <= mask[:, :-1]).all())


def _gather(hidden: torch.Tensor, places: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Gather hidden states (1, N, d) at `places` (B, T), with zeros for padding."""
    states = hidden[0]
    if bool((places == packing.tokens).any()):
        states = torch.cat([states, states.new_zeros(1, states.shape[1])])
    return states.index_select(0, places.flatten()).view(*places.shape, states.shape[1])
