"""The models, adapters and batches that make_golden.py turns into golden files.

Every case is a dictionary: `config` goes to transformers' configuration of `model_type` (Llama's without one), `lora`
to PEFT's LoraConfig as a person would write it, `dtype` is the type of the weights on disk, `lengths` are the token
counts of the sequences (one at least is longer than 64), `masks` say which tokens are labels (see `mask_of`).
"""

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

CASES = {
    # Grouped-query attention, biases on every linear layer, an output head of its own, all seven targets.
    "gqa_f32_untied": dict(
        seed=11,
        dtype="float32",
        config=dict(
            vocab_size=101, hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
            rms_norm_eps=1e-5, max_position_embeddings=128, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        lora=dict(r=4, lora_alpha=8, target_modules=ALL),
        lengths=[19, 7, 70, 12, 26, 9],
        masks=["tail:8", "all", "spans:5-9,40-69", "tail:3", "spans:5-9,15-25", "tail:1"],
    ),
    # bf16 on disk, head shared with the embedding, heads wider than hidden / heads, a list of suffixes as targets.
    "tied_bf16": dict(
        seed=12,
        dtype="bfloat16",
        config=dict(
            vocab_size=131, hidden_size=64, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=24, tie_word_embeddings=True, rms_norm_eps=1e-5,
            max_position_embeddings=128, rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        ),
        lora=dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
        lengths=[13, 66, 9, 21, 8],
        masks=["tail:5", "tail:40", "tail:8", "all", "tail:2"],
    ),
    # f16 on disk, odd sizes, the shared matrix stored as lm_head.weight only, a regular expression as target.
    "tied_f16": dict(
        seed=13,
        dtype="float16",
        store_only="lm_head.weight",
        config=dict(
            vocab_size=131, hidden_size=44, intermediate_size=77, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=12, tie_word_embeddings=True, rms_norm_eps=1e-6,
            max_position_embeddings=128, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        max_grad_norm=1.0,  # some steps are clipped, some are not
        lora=dict(r=5, lora_alpha=10, target_modules=r".*\.layers\.1\.mlp\.(gate|up|down)_proj"),
        lengths=[11, 17, 80, 8, 31, 7, 24],
        masks=["tail:4", "all", "spans:3-8,20-30,63-66", "tail:1", "spans:3-8,20-30", "all", "tail:12"],
    ),
    # One key/value head, heads twice as wide as hidden / heads, "all-linear", a rank and an alpha of its own.
    "untied_wide": dict(
        seed=14,
        dtype="float32",
        config=dict(
            vocab_size=101, hidden_size=42, intermediate_size=45, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, head_dim=28, tie_word_embeddings=False, rms_norm_eps=1e-6,
            max_position_embeddings=128, rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        ),
        lora=dict(
            r=3, lora_alpha=6, target_modules="all-linear",
            rank_pattern={"layers.1.self_attn.o_proj": 6}, alpha_pattern={"layers.1.self_attn.o_proj": 9},
        ),
        lengths=[15, 7, 67, 22, 65, 10],
        masks=["tail:6", "tail:3", "all", "tail:17", "spans:1-3,60-64", "tail:2"],
    ),
    # Plain multi-head attention; only model.embed_tokens.weight; the lowest layer carries no adapter.
    "tied_embed_only_f32": dict(
        seed=15,
        dtype="float32",
        config=dict(
            vocab_size=113, hidden_size=40, intermediate_size=44, num_hidden_layers=3, num_attention_heads=5,
            num_key_value_heads=5, tie_word_embeddings=True, rms_norm_eps=1e-5, max_position_embeddings=128,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        max_grad_norm=0.65,  # some steps are clipped, some are not
        lora=dict(r=6, lora_alpha=6, target_modules=["o_proj", "down_proj"], layers_to_transform=[1, 2]),
        lengths=[16, 72, 9, 24, 64],
        masks=["tail:9", "spans:2-5,12-23,64-71", "all", "spans:2-5,12-23", "tail:30"],
    ),
    # Llama 3's scaling with a wavelength below, between and above its two borders at these lengths.
    "llama3_rope": dict(
        seed=21,
        dtype="float32",
        config=dict(
            vocab_size=83, hidden_size=40, intermediate_size=52, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-5, max_position_embeddings=128,
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 48,
            },
        ),
        lora=dict(r=2, lora_alpha=4, target_modules="all-linear"),
        lengths=[19, 70, 11, 8, 23],
        masks=["tail:8", "all", "tail:3", "tail:5", "spans:5-9,15-22"],
    ),
    # Biases on q, k and v alone; the second layer sees a window that is shorter than most sequences.
    "qwen2": dict(
        model_type="qwen2",
        seed=122,
        dtype="float16",
        config=dict(
            vocab_size=97, hidden_size=42, intermediate_size=51, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, tie_word_embeddings=True, rms_norm_eps=1e-6, max_position_embeddings=128,
            use_sliding_window=True, sliding_window=9, max_window_layers=1,
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        ),
        lora=dict(r=3, lora_alpha=6, target_modules="all-linear"),
        lengths=[12, 66, 9, 20, 17],
        masks=["tail:5", "tail:40", "tail:8", "all", "tail:2"],
    ),
    # Norms on the heads of q and k, an explicit head_dim, biases everywhere in the attention, named layer types.
    "qwen3": dict(
        model_type="qwen3",
        seed=23,
        dtype="bfloat16",
        config=dict(
            vocab_size=89, hidden_size=36, intermediate_size=53, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=14, tie_word_embeddings=False, rms_norm_eps=1e-6, attention_bias=True,
            max_position_embeddings=128, use_sliding_window=True, sliding_window=13,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        lora=dict(r=3, lora_alpha=5, target_modules=r".*layers\.\d+\.(self_attn|mlp)\.\w+_proj"),
        lengths=[10, 69, 8, 25, 14],
        masks=["tail:6", "spans:3-8,20-30,60-68", "tail:1", "all", "tail:9"],
    ),
    # One window for all layers, frequencies divided by a factor.
    "mistral": dict(
        model_type="mistral",
        seed=24,
        dtype="bfloat16",
        config=dict(
            vocab_size=91, hidden_size=40, intermediate_size=47, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=12, tie_word_embeddings=False, rms_norm_eps=1e-5,
            max_position_embeddings=128, sliding_window=11,
            rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5},
        ),
        lora=dict(r=3, lora_alpha=6, target_modules=ALL),
        lengths=[15, 7, 67, 22, 10],
        masks=["tail:6", "tail:3", "all", "tail:17", "tail:2"],
    ),
    # A middle layer without rotary positions and with a window, biases on every linear layer.
    "smollm3": dict(
        model_type="smollm3",
        seed=25,
        dtype="float32",
        config=dict(
            vocab_size=79, hidden_size=32, intermediate_size=39, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-6, max_position_embeddings=128,
            pad_token_id=0, attention_bias=True, mlp_bias=True, no_rope_layers=[1, 0, 1], use_sliding_window=True,
            sliding_window=10, rope_parameters={"rope_type": "default", "rope_theta": 5000000.0},
        ),
        lora=dict(r=2, lora_alpha=4, target_modules="all-linear"),
        lengths=[16, 71, 9, 24],
        masks=["tail:9", "spans:2-5,12-23,64-70", "all", "spans:2-5,12-23"],
    ),
    # Four norms a layer, norms on q and k, scaled embeddings, gelu; local layers with rotary positions of their own,
    # global ones with divided frequencies; a score's scale that is not that of head_dim.
    "gemma3": dict(
        model_type="gemma3_text",
        seed=426,
        dtype="bfloat16",
        config=dict(
            vocab_size=103, hidden_size=36, intermediate_size=45, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=1, head_dim=10, rms_norm_eps=1e-6, max_position_embeddings=128, pad_token_id=0,
            attention_bias=True, query_pre_attn_scalar=17, sliding_window=8, sliding_window_pattern=2,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        ),
        lora=dict(r=2, lora_alpha=4, target_modules="all-linear"),
        lengths=[13, 68, 8, 21, 11],
        masks=["tail:4", "all", "tail:7", "spans:3-8,12-20", "tail:1"],
    ),
    # Fused projections, a part of each head turned, one window for all layers.
    "phi3": dict(
        model_type="phi3",
        seed=27,
        dtype="float32",
        config=dict(
            vocab_size=87, hidden_size=40, intermediate_size=43, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=False, rms_norm_eps=1e-5, max_position_embeddings=128,
            pad_token_id=0, sliding_window=14,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.6},
        ),
        lora=dict(r=3, lora_alpha=6, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
        lengths=[18, 65, 9, 20, 12],
        masks=["tail:8", "tail:50", "all", "spans:5-9,15-19", "tail:3"],
    ),
    # LayerNorm, learned positions, fused q, k and v, weights stored [in, out], names without "transformer.".
    "gpt2": dict(
        model_type="gpt2",
        seed=28,
        dtype="float16",
        strip_prefix="transformer.",
        config=dict(
            vocab_size=93, n_embd=33, n_layer=2, n_head=3, n_inner=71, n_positions=96, layer_norm_epsilon=1e-5,
        ),
        lora=dict(r=3, lora_alpha=6, target_modules="all-linear", fan_in_fan_out=True),
        lengths=[14, 73, 8, 19, 10],
        masks=["tail:7", "all", "tail:3", "spans:5-9,12-18", "tail:6"],
    ),
    # Scores that are not scaled, a head of its own, an MLP width left to the default, a config that names dropout.
    "gpt2_unscaled": dict(
        model_type="gpt2",
        seed=31,
        dtype="float32",
        config=dict(
            vocab_size=71, n_embd=20, n_layer=2, n_head=2, n_inner=None, n_positions=80, scale_attn_weights=False,
            tie_word_embeddings=False, activation_function="gelu_pytorch_tanh", attn_pdrop=0.1, resid_pdrop=0.1,
            embd_pdrop=0.1,
        ),
        lora=dict(r=2, lora_alpha=4, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True),
        lengths=[13, 66, 9, 18, 27],
        masks=["tail:6", "all", "tail:3", "spans:5-9,12-17", "tail:20"],
    ),
    # Named layer types against what max_window_layers says, the full ones between the sliding ones; a gated gelu.
    "qwen2_layer_types": dict(
        model_type="qwen2",
        seed=132,
        dtype="bfloat16",
        config=dict(
            vocab_size=73, hidden_size=24, intermediate_size=35, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=False, rms_norm_eps=1e-6, max_position_embeddings=128,
            hidden_act="gelu_pytorch_tanh", use_sliding_window=True, sliding_window=7, max_window_layers=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        lora=dict(r=2, lora_alpha=3, target_modules="all-linear"),
        lengths=[12, 67, 9, 20],
        masks=["tail:5", "all", "tail:8", "spans:3-8,12-19"],
    ),
    # No window, and GPT-2's gelu in a gated MLP.
    "mistral_full": dict(
        model_type="mistral",
        seed=33,
        dtype="float16",
        config=dict(
            vocab_size=67, hidden_size=30, intermediate_size=41, num_hidden_layers=2, num_attention_heads=5,
            num_key_value_heads=1, tie_word_embeddings=True, rms_norm_eps=1e-5, max_position_embeddings=128,
            hidden_act="gelu_new", sliding_window=None,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        lora=dict(r=2, lora_alpha=4, target_modules=ALL),
        lengths=[15, 7, 66, 21],
        masks=["tail:6", "tail:3", "all", "tail:16"],
    ),
    # Fused projections with the head shared with the embedding, whole heads turned, no window.
    "phi3_tied": dict(
        model_type="phi3",
        seed=34,
        dtype="float16",
        config=dict(
            vocab_size=69, hidden_size=24, intermediate_size=37, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=3, tie_word_embeddings=True, rms_norm_eps=1e-5, max_position_embeddings=128,
            pad_token_id=0, sliding_window=None, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
        lora=dict(r=2, lora_alpha=4, target_modules="all-linear"),
        lengths=[17, 65, 8, 19],
        masks=["tail:8", "all", "tail:4", "spans:5-9,15-18"],
    ),
}


def mask_of(kind, length):
    """One boolean per token: true where the token is a label. `tail:N` is the last N tokens, `all` every token
    (the first too, although nothing predicts it), `spans:a-b,c-d` the named ranges, ends included."""
    name, _, rest = kind.partition(":")
    if name == "all":
        return [True] * length
    if name == "tail":
        return [i >= length - int(rest) for i in range(length)]
    ranges = [tuple(map(int, span.split("-"))) for span in rest.split(",")]
    return [any(a <= i <= b for a, b in ranges) for i in range(length)]
