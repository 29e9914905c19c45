//! Well-formed files whose numbers make no model.

use super::{refused, spoiled};

const SIZES: &[&str] = &[
    "llama.context_length",
    "llama.embedding_length",
    "llama.block_count",
    "llama.feed_forward_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.rope.dimension_count",
    "llama.vocab_size",
    "llama.expert_count",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.sliding_window",
    "split.count",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.padding_token_id",
];

#[test]
fn sizes_of_another_type_are_refused_by_name() {
    for key in SIZES {
        for (kind, bytes) in [(6, vec![0, 0, 0, 0x40]), (7, vec![1]), (8, vec![0; 8]), (12, vec![0; 8])] {
            refused(&format!("{key} is of type"), |file| file.raw(key, kind, &bytes));
        }
        refused(&format!("{key} is of type array of u32"), |file| file.array(key, 4, 1, &[4, 0, 0, 0]));
        refused(&format!("{key} is -1"), |file| file.raw(key, 5, &[0xff; 4]));
    }
    let eps = "llama.attention.layer_norm_rms_epsilon";
    refused(&format!("{eps} is of type u32"), |file| file.u32(eps, 1));
    refused("llama.rope.freq_base is of type string", |file| file.text("llama.rope.freq_base", "1"));
    refused("tokenizer.ggml.add_bos_token is of type u32", |file| {
        file.u32("tokenizer.ggml.add_bos_token", 1)
    });
    refused("general.architecture is of type u32", |file| file.u32("general.architecture", 1));
    refused("tokenizer.chat_template is of type", |file| file.u32("tokenizer.chat_template", 1));
}

#[test]
fn integers_of_any_width_that_fit_are_read() {
    let mut file = crate::testing::tiny_gguf();
    file.raw("llama.block_count", 10, &2_u64.to_le_bytes()).raw("llama.attention.head_count", 0, &[4]).raw(
        "llama.attention.head_count_kv",
        3,
        &2_i16.to_le_bytes(),
    );
    let config = crate::gguf::parse(&file.build(), "t").unwrap().config;
    assert_eq!((config.layers, config.heads, config.kv_heads), (2, 4, 2));
}

#[test]
fn sizes_out_of_range_are_refused() {
    for (key, value, word) in [
        ("llama.block_count", 0, "layers is 0"),
        ("llama.block_count", 513, "layers is 513"),
        ("llama.block_count", u32::MAX, "layers"),
        ("llama.attention.head_count", 0, "divided among 0 heads"),
        ("llama.attention.head_count", 3, "divided among 3 heads"),
        ("llama.attention.head_count_kv", 0, "key/value heads is 0"),
        ("llama.attention.head_count_kv", 8, "key/value heads is 8"),
        ("llama.attention.head_count_kv", 3, "no multiple of 3"),
        ("llama.attention.key_length", 514, "rotary"),
        ("llama.attention.value_length", 4, "value_length is 4"),
        ("llama.rope.dimension_count", 16, "are to rotate"),
        ("llama.rope.dimension_count", 4, "partial rotary"),
        ("llama.context_length", 1 << 31, "context length"),
        ("llama.context_length", 0, "context length is 0"),
        ("llama.vocab_size", 17, "vocab_size is 17"),
        ("llama.expert_count", 8, "expert_used_count is missing"),
        ("llama.expert_used_count", 2, "mixture of experts"),
        ("tokenizer.ggml.bos_token_id", 16, "there are 16 tokens"),
        ("tokenizer.ggml.eot_token_id", u32::MAX, "there are 16 tokens"),
        ("split.count", 65_535, "the number of parts"),
    ] {
        refused(word, |file| file.u32(key, value));
    }
    for eps in [f32::NAN, f32::INFINITY, 0.0, -1e-5] {
        refused("epsilon", |file| file.f32("llama.attention.layer_norm_rms_epsilon", eps));
    }
    for theta in [f32::NAN, f32::INFINITY, 0.0] {
        refused("rotary base", |file| file.f32("llama.rope.freq_base", theta));
    }
    refused("not causal", |file| file.raw("llama.attention.causal", 7, &[0]));
}

#[test]
fn missing_keys_are_named() {
    for key in [
        "general.architecture",
        "llama.context_length",
        "llama.embedding_length",
        "llama.block_count",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges",
    ] {
        refused(&format!("{key} is missing"), |file| file.remove(key));
    }
}

#[test]
fn other_architectures_and_tokenizers_are_named() {
    refused("\"mamba\"; supported are llama, qwen2, qwen3", |file| {
        file.text("general.architecture", "mamba")
    });
    refused("tokenizer \"bert\"", |file| file.text("tokenizer.ggml.model", "bert"));
    // What cannot run at all is the first thing to say.
    spoiled("\"rwkv\"", |file| {
        file.text("general.architecture", "rwkv");
        file.named("blk.0.attn_q.weight").kind = 12;
    });
}

#[test]
fn scored_tokenizers_are_read() {
    let scores: Vec<u8> = (0..16_u8).flat_map(|id| (-f32::from(id)).to_le_bytes()).collect();
    for (model, element) in [("llama", 0), ("t5", 1)] {
        let mut file = crate::testing::tiny_gguf();
        file.text("tokenizer.ggml.model", model)
            .array("tokenizer.ggml.scores", 6, 16, &scores)
            .array("tokenizer.ggml.precompiled_charsmap", element, 3, &[1, 2, 0xFF])
            .raw("tokenizer.ggml.add_space_prefix", 7, &[0])
            .raw("tokenizer.ggml.remove_extra_whitespaces", 7, &[1])
            .u32("tokenizer.ggml.unknown_token_id", 2);
        file.remove("tokenizer.ggml.merges");
        let found = crate::gguf::parse(&file.build(), "t").unwrap().tokenizer;
        assert_eq!((found.model.as_str(), found.merges.len(), found.charsmap), (model, 0, vec![1, 2, 0xFF]));
        assert_eq!((found.scores.len(), found.scores[15], found.unk), (16, -15.0, Some(2)));
        assert_eq!((found.add_space_prefix, found.remove_extra_whitespaces), (Some(false), Some(true)));
    }
}

#[test]
fn tokenizer_tables_agree() {
    let tokens = "tokenizer.ggml.tokens";
    let merges = "tokenizer.ggml.merges";
    refused("15 items for 16 tokens", |file| file.ints("tokenizer.ggml.token_type", &[1; 15]));
    refused("unknown type 7", |file| file.ints("tokenizer.ggml.token_type", &[7; 16]));
    refused("unknown type -1", |file| file.ints("tokenizer.ggml.token_type", &[-1; 16]));
    // Tables of bytes where numbers of four bytes are due.
    refused("array of u8", |file| file.array("tokenizer.ggml.token_type", 0, 16, &[1; 16]));
    refused("array of u8", |file| file.array("tokenizer.ggml.scores", 0, 16, &[1; 16]));
    refused("1 items for 16 tokens", |file| file.array("tokenizer.ggml.scores", 6, 1, &[0; 4]));
    refused("array of i32", |file| file.ints(tokens, &[1; 16]));
    refused("is of type string", |file| file.text(tokens, "x"));

    let scored = |file: &mut crate::testing::Gguf, last: f32| {
        let scores: Vec<u8> = (0..16).flat_map(|id| if id < 15 { 0.0 } else { last }.to_le_bytes()).collect();
        file.text("tokenizer.ggml.model", "llama").array("tokenizer.ggml.scores", 6, 16, &scores);
    };
    refused("tokenizer.ggml.scores is missing", |file| file.text("tokenizer.ggml.model", "t5"));
    spoiled("the score of token 15 is NaN", |file| scored(file, f32::NAN));
    spoiled("array of f32; array of u8", |file| {
        scored(file, 0.0);
        file.array("tokenizer.ggml.precompiled_charsmap", 6, 1, &[0; 4]);
    });

    let types = |file: &mut crate::testing::Gguf, n| {
        file.ints("tokenizer.ggml.token_type", &vec![1; n]);
    };
    spoiled("token 1 is empty", |file| {
        file.texts(tokens, &["a", ""]);
        types(file, 2);
    });
    spoiled("occurs before", |file| {
        file.texts(tokens, &["a", "b", "a"]);
        types(file, 3);
    });
    spoiled("embeddings for 16", |file| {
        file.texts(tokens, &["a", "b", "ab", "c", "abc"]);
        types(file, 5);
    });
    for merge in ["a x", "x a", "b c", "a", "", " ", "a ", " a", "a b c", "a  b"] {
        refused("does not join", |file| file.texts(merges, &["a b", merge]));
    }
    refused("NUL", |file| file.text("tokenizer.chat_template", "a\0b"));
}
