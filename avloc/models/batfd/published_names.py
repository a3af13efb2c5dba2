"""Names in released checkpoints of BA-TFD and BA-TFD+, and the names that avloc's networks have for them."""

from __future__ import annotations

import re

HYPER_PARAMETERS = {
    "v_encoder": "video_encoder",
    "a_encoder": "audio_encoder",
    "ve_features": "video_widths",
    "ae_features": "audio_widths",
    "v_cla_feature_in": "width",
    "boundary_features": "map_widths",
    "boundary_samples": "samples",
    "temporal_dim": "frames",
    "max_duration": "durations",
    "weight_frame_loss": "frame_loss_weight",
    "weight_modal_bm_loss": "modal_loss_weight",
    "weight_contrastive_loss": "contrast_loss_weight",
    "contrast_loss_margin": "contrast_margin",
}
"""By published hyper-parameter, the argument of the network."""

TRAINING_ONLY = frozenset({"weight_decay", "learning_rate", "distributed", "prb_weight_forward", "frame_classifier"})
"""Published hyper-parameters of the training, which the networks do not have."""

DEFAULTS: dict[str, dict[str, object]] = {
    "BATFD": {},
    "BATFDPlus": {"v_encoder": "c3d", "a_encoder": "cnn", "cbg_feature_weight": 0.01},
}
"""By network, published defaults that differ from avloc's."""

_SIDE = r"(?P<side>video|audio)"
_TENSORS = (
    (r"video_encoder\.block0\.([01])\.conv\.(.*)", r"video_encoder.convs.\1.\2"),
    (r"video_encoder\.block1\.0\.conv\.(.*)", r"video_encoder.convs.2.\1"),
    (r"video_encoder\.block1\.1\.conv\.(.*)", r"video_encoder.convs.3.\1"),
    (r"video_encoder\.block2\.0\.conv\.(.*)", r"video_encoder.convs.4.\1"),
    (r"video_encoder\.block2\.1\.conv\.(.*)", r"video_encoder.convs.5.\1"),
    (r"video_encoder\.block3\.0\.conv\.(.*)", r"video_encoder.convs.6.\1"),
    (r"video_encoder\.block3\.2\.conv\.(.*)", r"video_encoder.convs.7.\1"),
    (r"video_encoder\.block3\.5\.conv\.(.*)", r"video_encoder.project.\1"),
    (r"video_encoder\.mvit\.(.*)", r"video_encoder.mvit.\1"),
    (r"audio_encoder\.block0\.1\.conv\.(.*)", r"audio_encoder.convs.0.\1"),
    (r"audio_encoder\.block1\.0\.conv\.(.*)", r"audio_encoder.convs.1.\1"),
    (r"audio_encoder\.block1\.1\.conv\.(.*)", r"audio_encoder.convs.2.\1"),
    (r"audio_encoder\.block2\.0\.conv\.(.*)", r"audio_encoder.convs.3.\1"),
    (r"audio_encoder\.block2\.2\.conv\.(.*)", r"audio_encoder.convs.4.\1"),
    (r"audio_encoder\.block\.(.*)", r"audio_encoder.encoder.\1"),
    (r"audio_encoder\.input_proj\.conv\.(.*)", r"audio_encoder.patch.\1"),
    (r"audio_encoder\.output_proj\.(.*)", r"audio_encoder.project.\1"),
    (_SIDE + r"_frame_classifier\.lr_layer\.conv\.(.*)", r"\g<side>_classifier.\2"),
    (_SIDE + r"_boundary_module\.block0\.0\.conv\.(.*)", r"\g<side>_boundaries.trunk.fold.\2"),
    (_SIDE + r"_boundary_module\.block1\.0\.conv\.(.*)", r"\g<side>_boundaries.trunk.squeeze.\2"),
    (_SIDE + r"_boundary_module\.block1\.1\.conv\.(.*)", r"\g<side>_boundaries.trunk.context.\2"),
    (_SIDE + r"_boundary_module\.block1\.2\.conv\.(.*)", r"\g<side>_boundaries.out.\2"),
    (_SIDE + r"_boundary_module\.proposal_block\.(.*)", r"\g<side>_boundaries.relation.\2"),
    (_SIDE + r"_comp_boundary_generator\.final\.(.*)", r"generators.\g<side>.out.\2"),
    (_SIDE + r"_comp_boundary_generator\.conv(\d)_(\d)\.conv\.(.*)", r"generators.\g<side>.node_\2\3.\4"),
    (r"cbg_fusion_(start|end)\.(.*)", r"boundary_fusions.\1.\2"),
    (r"prb_fusion_p\.(.*)", r"fusions.0.\1"),
    (r"prb_fusion_c\.(.*)", r"fusions.1.\1"),
    (r"prb_fusion_p_c\.(.*)", r"fusions.2.\1"),
    (r"fusion\.(.*)", r"fusion.\1"),
)
# Parts of the resulting names, wherever they occur.
_PARTS = (
    (r"\.relation\.conv0_0\.", ".relation.position_in."),
    (r"\.relation\.conv0_1\.", ".relation.channel_in."),
    (r"\.relation\.conv1\.", ".relation.position_mid."),
    (r"\.relation\.conv4\.", ".relation.channel_mid."),
    (r"\.relation\.conv2\.0\.", ".relation.position_out."),
    (r"\.relation\.conv5\.0\.", ".relation.channel_out."),
    (r"\.relation\.conv3\.0\.", ".relation.both_out."),
    (r"\.relation\.p_net\.g\.0\.", ".relation.position.value."),
    (r"\.relation\.p_net\.phi\.0\.", ".relation.position.key."),
    (r"\.relation\.p_net\.theta\.", ".relation.position.query."),
    (r"\.relation\.p_net\.W\.", ".relation.position.out."),
    (r"\.relation\.c_net\.g\.", ".relation.channel.value."),
    (r"\.relation\.c_net\.phi\.", ".relation.channel.key."),
    (r"\.relation\.c_net\.theta\.", ".relation.channel.query."),
    (r"\.relation\.c_net\.W\.", ".relation.channel.out."),
    (r"\.v_attn_block\.", ".video."),
    (r"\.a_attn_block\.", ".audio."),
    (r"\.attn_from_self_features\.conv\.", ".from_own."),
    (r"\.attn_from_another_features\.conv\.", ".from_other."),
    (r"\.attn_from_bm\.conv\.", ".from_map."),
)
_TENSOR_RULES = [(re.compile(pattern), name) for pattern, name in _TENSORS]
_PART_RULES = [(re.compile(pattern), name) for pattern, name in _PARTS]


def parameter_name(published: str) -> str | None:
    """Translate the name of a published tensor to that of the network's parameter or buffer; None if it is unknown.

    >>> parameter_name("prb_fusion_p_c.a_attn_block.attn_from_bm.conv.weight")
    'fusions.2.audio.from_map.weight'
    """
    for pattern, name in _TENSOR_RULES:
        if pattern.fullmatch(published):
            translated = pattern.sub(name, published)
            for part, replacement in _PART_RULES:
                translated = part.sub(replacement, translated)
            return translated
    return None
