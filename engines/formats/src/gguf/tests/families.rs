//! Keys of the families beyond the first, sound and hostile.

use crate::gguf::parse;
use crate::testing::{Gguf, Scratch, tiny_gguf};
use crate::{Activation, Architecture, Dtype, FormatError, ModelConfig, RopeScaling, TensorInfo, open};

/// The tiny model's file with its keys under another architecture's name.
fn of(architecture: &str) -> Gguf {
    let mut file = tiny_gguf();
    for (key, ..) in &mut file.keys {
        if let Some(rest) = key.strip_prefix(b"llama.") {
            *key = [architecture.as_bytes(), b".", rest].concat();
        }
    }
    file.text("general.architecture", architecture);
    file
}

fn config(file: &Gguf) -> ModelConfig {
    parse(&file.build(), "t.gguf").unwrap().config
}

/// Sets a key of a sound file of that architecture and expects a refusal that contains `word`.
fn refused(architecture: &str, word: &str, set: impl FnOnce(&mut Gguf) -> &mut Gguf) {
    let mut file = of(architecture);
    set(&mut file);
    let error = parse(&file.build(), "t.gguf").unwrap_err().to_string();
    assert!(error.contains(word), "{architecture}: {word}: {error}");
}

fn layers(config: &ModelConfig) -> Option<(usize, Vec<bool>)> {
    config.window.as_ref().map(|window| (window.tokens, window.layers.clone()))
}

#[test]
fn llama_s_name_is_shared() {
    let mut file = of("llama");
    file.u32("llama.attention.sliding_window", 8);
    let mistral = config(&file);
    assert_eq!(mistral.architecture, Architecture::Mistral);
    assert_eq!(layers(&mistral), Some((8, vec![true; 2])));
    assert!(mistral.rope_interleaved);
    file.u32("llama.attention.sliding_window", 64);
    assert_eq!(config(&file).window, None, "as long as the context");
    file.u32("llama.attention.sliding_window", 0);
    assert_eq!(config(&file).architecture, Architecture::Llama);

    file.u32("llama.expert_count", 4).u32("llama.expert_used_count", 2);
    let mixtral = config(&file);
    assert_eq!(mixtral.architecture, Architecture::Mixtral);
    let experts = mixtral.experts.unwrap();
    assert_eq!((experts.count, experts.used, experts.intermediate_size), (4, 2, 64));
    assert!(experts.normalise && experts.shared.is_none());
}

#[test]
fn positions_stretch_by_their_kind() {
    let scaling = |set: &dyn Fn(&mut Gguf)| {
        let mut file = of("qwen2");
        set(&mut file);
        config(&file).rope.scaling
    };
    let linear = RopeScaling::Linear { factor: 4.0 };
    let (kind, by) = ("qwen2.rope.scaling.type", "qwen2.rope.scaling.factor");
    assert_eq!(
        scaling(&|file| {
            file.text(kind, "linear").f32(by, 4.0);
        }),
        linear
    );
    assert_eq!(
        scaling(&|file| {
            file.f32(by, 4.0);
        }),
        linear
    );
    assert_eq!(
        scaling(&|file| {
            file.f32("qwen2.rope.scale_linear", 4.0);
        }),
        linear
    );
    assert_eq!(
        scaling(&|file| {
            file.text(kind, "none").f32(by, 4.0);
        }),
        RopeScaling::None
    );
    assert_eq!(
        scaling(&|file| {
            file.text(kind, "linear");
        }),
        RopeScaling::None
    );

    let plain = 0.1 * 4f64.ln() + 1.0;
    let yarn = |attention_factor, original_context| RopeScaling::Yarn {
        factor: 4.0,
        original_context,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor,
        truncate: true,
    };
    let base = |file: &mut Gguf| {
        file.text(kind, "yarn").f32(by, 4.0);
    };
    assert_eq!(scaling(&base), yarn(plain, 64));
    let context = "qwen2.rope.scaling.original_context_length";
    assert_eq!(
        scaling(&|file| {
            base(file);
            file.u32(context, 16);
        }),
        yarn(plain, 16)
    );
    let given = "qwen2.rope.scaling.yarn_attn_factor";
    assert_eq!(
        scaling(&|file| {
            base(file);
            file.f32(given, 1.5);
        }),
        yarn(1.5, 64)
    );
    let all = "qwen2.rope.scaling.yarn_log_multiplier";
    assert_eq!(
        scaling(&|file| {
            base(file);
            file.f32(all, 1.0);
        }),
        yarn(1.0, 64)
    );
}

#[test]
fn phi_has_fused_matrices_and_lists_of_divisors() {
    let mut file = of("phi3");
    for layer in 0..2 {
        file.tensors.retain(|tensor| {
            let name = std::str::from_utf8(&tensor.name).unwrap();
            !["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"]
                .iter()
                .any(|part| name == format!("blk.{layer}.{part}.weight"))
        });
    }
    let kept = std::mem::take(&mut file.tensors);
    for tensor in kept {
        let name = String::from_utf8(tensor.name).unwrap();
        file.tensor(&name, &tensor.dims, Dtype::from_ggml(tensor.kind).unwrap());
    }
    for layer in 0..2 {
        file.tensor(&format!("blk.{layer}.attn_qkv.weight"), &[32, 64], Dtype::Q8_0);
        file.tensor(&format!("blk.{layer}.ffn_up.weight"), &[32, 128], Dtype::Q8_0);
    }
    let plain = config(&file);
    assert_eq!((plain.architecture, &plain.rope.scaling), (Architecture::Phi3, &RopeScaling::None));

    file.u32("phi3.rope.dimension_count", 6).u32("phi3.rope.scaling.original_context_length", 16);
    file.f32("phi3.rope.scaling.attn_factor", 1.25).u32("phi3.attention.sliding_window", 0);
    file.tensor("rope_factors_long.weight", &[3], Dtype::F32);
    refused("phi3", "needs both", |phi| {
        *phi = file.clone();
        phi
    });
    file.tensor("rope_factors_short.weight", &[3], Dtype::F32);
    let scratch = Scratch::new("phi");
    let model = open(&scratch.write("t.gguf", &file.build())).unwrap();
    let scaling = RopeScaling::LongFactors { original_context: 16, attention_factor: 1.25 };
    assert_eq!((model.config.rotary_dim, &model.config.rope.scaling), (6, &scaling));
    let at = |name: &str| -> &TensorInfo { &model.tensors[&format!("model.layers.1.{name}.weight")] };
    let (gate, up) = (at("mlp.gate_proj"), at("mlp.up_proj"));
    assert_eq!((gate.offset + gate.bytes, gate.shape.as_slice()), (up.offset, &[64, 32][..]));
    assert_eq!(at("self_attn.v_proj").shape, [16, 32]);
    // The lists are read as F32.
    file.named("rope_factors_short.weight").kind = 26;
    let error = open(&scratch.write("i32.gguf", &file.build())).unwrap_err();
    assert!(matches!(error, FormatError::Unsupported { .. }), "{error}");
}

#[test]
fn gemma_has_its_ways() {
    let gemma2 = config(&of("gemma2"));
    assert_eq!(gemma2.activation, Activation::GeluTanh);
    assert!(gemma2.post_norms && !gemma2.norms_less_one && !gemma2.rope_interleaved);
    assert_eq!((gemma2.attention_softcap, gemma2.logit_softcap), (Some(50.0), Some(30.0)));
    assert_eq!(gemma2.embedding_scale, Some(32f64.sqrt()));
    assert_eq!(gemma2.window, None, "its default window is longer than this context");
    let mut file = of("gemma2");
    file.u32("gemma2.attention.sliding_window", 8).f32("gemma2.attn_logit_softcapping", 20.0);
    let gemma2 = config(&file);
    assert_eq!((layers(&gemma2), gemma2.attention_softcap), (Some((8, vec![true, false])), Some(20.0)));

    let mut file = of("gemma3");
    file.u32("gemma3.attention.sliding_window", 8).f32("gemma3.rope.freq_base", 1e6);
    let gemma3 = config(&file);
    assert_eq!(layers(&gemma3), Some((8, vec![true, true])));
    assert!(gemma3.qk_norm && gemma3.attention_softcap.is_none());
    assert_eq!(gemma3.window_rope.map(|rope| rope.theta), Some(10_000.0));
    file.u32("gemma3.attention.sliding_window_pattern", 2);
    assert_eq!(layers(&config(&file)), Some((8, vec![true, false])));
    file.array("gemma3.attention.sliding_window_pattern", 7, 2, &[0, 1]);
    assert_eq!(layers(&config(&file)), Some((8, vec![false, true])));
}

#[test]
fn mixtures_are_described() {
    let mut file = of("qwen2moe");
    let key = |name: &str| format!("qwen2moe.{name}");
    file.u32(&key("expert_count"), 8).u32(&key("expert_used_count"), 2);
    file.u32(&key("expert_feed_forward_length"), 16).u32(&key("expert_shared_feed_forward_length"), 24);
    let experts = config(&file).experts.unwrap();
    assert_eq!((experts.count, experts.used, experts.intermediate_size), (8, 2, 16));
    assert_eq!((experts.shared, experts.normalise), (Some(24), false));
    file.raw(&key("expert_weights_norm"), 7, &[1]);
    assert!(config(&file).experts.unwrap().normalise);
    for (name, value, word) in [
        ("expert_count", 0, "experts is 0"),
        ("expert_count", 1025, "experts is 1025"),
        ("expert_count", u32::MAX, "experts is 4294967295"),
        ("expert_used_count", 9, "goes through is 9"),
        ("expert_used_count", 0, "goes through is 0"),
        ("expert_feed_forward_length", 0, "width of an expert is 0"),
        ("expert_feed_forward_length", 1, "matrix is 32"),
        ("expert_shared_feed_forward_length", 1 << 21, "width of the shared expert"),
        ("expert_gating_func", 2, "only softmax"),
    ] {
        let mut spoiled = file.clone();
        spoiled.u32(&key(name), value);
        let error = parse(&spoiled.build(), "t.gguf").unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {word}: {error}");
    }
    for name in ["expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length"] {
        let mut spoiled = file.clone();
        spoiled.remove(&key(name));
        let error = parse(&spoiled.build(), "t.gguf").unwrap_err().to_string();
        assert!(error.contains(&format!("{name} is missing")), "{name}: {error}");
    }
}

#[test]
fn keys_of_another_type_are_refused_by_name() {
    for (architecture, keys) in [
        ("llama", &["attention.sliding_window", "expert_count", "rope.scaling.original_context_length"][..]),
        (
            "qwen2moe",
            &["expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length"],
        ),
        ("gemma3", &["attention.sliding_window_pattern"]),
    ] {
        for name in keys {
            for (kind, bytes) in [(6, vec![0, 0, 0, 0x40]), (7, vec![1]), (8, vec![0; 8]), (12, vec![0; 8])] {
                let key = format!("{architecture}.{name}");
                refused(architecture, &format!("{key} is of type"), |file| {
                    sized(file, architecture).raw(&key, kind, &bytes)
                });
            }
        }
    }
    let floats = [
        ("qwen2", "rope.scaling.factor"),
        ("qwen2", "rope.scaling.yarn_beta_fast"),
        ("gemma2", "attn_logit_softcapping"),
        ("gemma2", "final_logit_softcapping"),
        ("gemma3", "rope.freq_base_swa"),
        ("llama", "expert_weights_scale"),
    ];
    for (architecture, name) in floats {
        let key = format!("{architecture}.{name}");
        refused(architecture, &format!("{key} is of type u32"), |file| {
            sized(file, architecture).u32(&key, 1)
        });
        refused(architecture, &format!("{key} is of type array"), |file| {
            sized(file, architecture).array(&key, 6, 1, &[0; 4])
        });
    }
    refused("gemma3", "pattern is of type array of i32", |file| {
        sized(file, "gemma3").array("gemma3.attention.sliding_window_pattern", 5, 2, &[0; 8])
    });
    refused("gemma3", "a bool of value 2", |file| {
        file.array("gemma3.attention.sliding_window_pattern", 7, 2, &[0, 2])
    });
    refused("gemma3", "length of gemma3.attention.sliding_window_pattern is 513", |file| {
        file.array("gemma3.attention.sliding_window_pattern", 7, 513, &[1; 513])
    });
    refused("gemma3", "has 1 items for 2 layers", |file| {
        sized(file, "gemma3").array("gemma3.attention.sliding_window_pattern", 7, 1, &[1])
    });
}

/// Adds what makes every key of a family be read.
fn sized<'a>(file: &'a mut Gguf, architecture: &str) -> &'a mut Gguf {
    let key = |name: &str| format!("{architecture}.{name}");
    match architecture {
        "qwen2" => file.text(&key("rope.scaling.type"), "yarn").f32(&key("rope.scaling.factor"), 4.0),
        "gemma2" | "gemma3" => file.u32(&key("attention.sliding_window"), 8),
        "llama" => file
            .u32(&key("expert_count"), 4)
            .u32(&key("expert_used_count"), 2)
            .text(&key("rope.scaling.type"), "yarn")
            .f32(&key("rope.scaling.factor"), 4.0),
        _ => file
            .u32(&key("expert_count"), 4)
            .u32(&key("expert_used_count"), 2)
            .u32(&key("expert_feed_forward_length"), 16)
            .u32(&key("expert_shared_feed_forward_length"), 16),
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let yarn = |file: &mut Gguf| {
        file.text("qwen2.rope.scaling.type", "yarn");
    };
    refused("qwen2", "rope.scaling.factor is missing", |file| file.text("qwen2.rope.scaling.type", "yarn"));
    refused("qwen2", "longrope needs both", |file| file.text("qwen2.rope.scaling.type", "longrope"));
    refused("qwen2", "rotary scaling of type \"ntk\"", |file| file.text("qwen2.rope.scaling.type", "ntk"));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refused("qwen2", "scaling's factor", |file| file.f32("qwen2.rope.scaling.factor", bad));
        refused("qwen2", "scaling's factor", |file| {
            yarn(file);
            file.f32("qwen2.rope.scaling.factor", bad)
        });
    }
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        refused("gemma2", "soft cap of attention", |file| file.f32("gemma2.attn_logit_softcapping", bad));
        refused("gemma3", "soft cap of logits", |file| file.f32("gemma3.final_logit_softcapping", bad));
        refused("gemma3", "rotary base", |file| sized(file, "gemma3").f32("gemma3.rope.freq_base_swa", bad));
    }
    refused("qwen2", "original context", |file| {
        sized(file, "qwen2").u32("qwen2.rope.scaling.original_context_length", u32::MAX)
    });
    refused("qwen2", "mixed in by 0.5", |file| {
        sized(file, "qwen2").f32("qwen2.rope.scaling.yarn_ext_factor", 0.5)
    });
    refused("qwen2", "beta_fast is not above", |file| {
        sized(file, "qwen2").f32("qwen2.rope.scaling.yarn_beta_fast", 0.5)
    });
    refused("qwen2", "sliding window of 8", |file| file.u32("qwen2.attention.sliding_window", 8));
    refused("qwen2", "mixture of experts", |file| file.u32("qwen2.expert_count", 8));
    refused("phi3", "of a head of 8 are to rotate", |file| file.u32("phi3.rope.dimension_count", 10));
    refused("phi3", "3 of 8 dimensions", |file| file.u32("phi3.rope.dimension_count", 3));
}
