mod families;
mod random;
mod semantics;
mod split;
mod structure;
mod tensors;

use crate::gguf::{GgufFile, parse};
use crate::testing::{Gguf, Scratch, tiny_gguf};
use crate::{Architecture, Dtype, FormatError, RopeScaling, expected_tensors, open};

/// The reason a file is refused for.
fn refusal(file: &Gguf) -> String {
    parse(&file.build(), "t.gguf").unwrap_err().to_string()
}

/// Sets a key of a sound file and expects it to be refused with a reason that contains `word`.
fn refused(word: &str, set: impl FnOnce(&mut Gguf) -> &mut Gguf) {
    spoiled(word, |file| {
        set(file);
    });
}

/// Spoils a sound file and expects it to be refused with a reason that contains `word`.
fn spoiled(word: &str, spoil: impl FnOnce(&mut Gguf)) {
    let mut file = tiny_gguf();
    spoil(&mut file);
    let error = refusal(&file);
    assert!(error.contains(word), "{word}: {error}");
}

#[test]
fn a_sound_file_is_described() {
    let bytes = tiny_gguf().build();
    let file: GgufFile = parse(&bytes, "t.gguf").unwrap();
    assert_eq!(file.config.architecture, Architecture::Llama);
    assert!(file.config.rope_interleaved && file.config.tie_embeddings);
    assert_eq!(file.tokenizer.merges, ["a b", "ab c"]);
    assert_eq!(file.generation.eos, [1]);
    let template = file.chat_template.unwrap();
    assert_eq!((template.source.as_str(), template.bos_token.as_deref()), ("{{ messages }}", Some("<|b|>")));
    let down = &file.tensors["model.layers.1.mlp.down_proj.weight"];
    assert_eq!((down.shape.as_slice(), down.dtype, down.bytes), (&[32, 64][..], Dtype::Q8_0, 32 * 2 * 34));
    assert_eq!(down.offset + down.bytes, bytes.len() as u64);
}

#[test]
fn a_template_for_tools_comes_beside_the_other() {
    let mut file = tiny_gguf();
    file.text("tokenizer.chat_template.tool_use", "{{ tools }}");
    let template = parse(&file.build(), "t.gguf").unwrap().chat_template.unwrap();
    assert_eq!(
        (template.source.as_str(), template.tool_use.as_deref()),
        ("{{ messages }}", Some("{{ tools }}"))
    );
    spoiled("NUL", |file| {
        file.text("tokenizer.chat_template.tool_use", "a\0b");
    });
}

#[test]
fn a_file_opens_whatever_its_name() {
    let scratch = Scratch::new("gguf");
    let model = open(&scratch.write("model.bin", &tiny_gguf().build())).unwrap();
    assert_eq!(model.config.layers, 2);
    assert_eq!(model.weight_bytes(), model.tensors.values().map(|tensor| tensor.bytes).sum::<u64>());
    let mut file = tiny_gguf();
    file.tensors.pop();
    let error = open(&scratch.write("short.gguf", &file.build())).unwrap_err();
    assert!(matches!(error, FormatError::TensorMissing { .. }), "{error}");
}

#[test]
fn presence_of_tensors_stands_in_for_keys() {
    let mut file = tiny_gguf();
    file.tensor("output.weight", &[32, 16], Dtype::F16).tensor("rope_freqs.weight", &[4], Dtype::F32);
    for layer in 0..2 {
        for (part, len) in [("attn_q", 32), ("attn_k", 16), ("attn_v", 16), ("attn_output", 32)] {
            file.tensor(&format!("blk.{layer}.{part}.bias"), &[len], Dtype::F32);
        }
    }
    let parsed = parse(&file.build(), "t.gguf").unwrap();
    let config = parsed.config;
    assert!(!config.tie_embeddings && config.qkv_bias && config.attention_out_bias && !config.mlp_bias);
    assert_eq!(config.rope.scaling, RopeScaling::Factors);
    let mut expected: Vec<_> = expected_tensors(&config).into_iter().map(|(name, _)| name).collect();
    expected.sort();
    assert!(expected.iter().eq(parsed.tensors.keys()));
}

#[test]
fn version_two_and_larger_alignments_are_read() {
    let mut file = tiny_gguf();
    file.version = 2;
    parse(&file.build(), "t").unwrap();
    let mut file = Gguf::new();
    file.alignment = 4096;
    file.keys = tiny_gguf().keys;
    file.u32("general.alignment", 4096);
    for tensor in tiny_gguf().tensors {
        let dtype = Dtype::from_ggml(tensor.kind).unwrap();
        file.tensor(std::str::from_utf8(&tensor.name).unwrap(), &tensor.dims, dtype);
    }
    let parsed = parse(&file.build(), "t").unwrap();
    assert!(parsed.tensors.values().all(|tensor| tensor.offset.is_multiple_of(4096)));
}

#[test]
fn a_link_to_the_file_has_the_same_key() {
    let scratch = Scratch::new("link");
    let path = scratch.write("a.gguf", &tiny_gguf().build());
    let link = scratch.path().join("b.gguf");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let key = |path| crate::fingerprint(&open(path).unwrap());
    assert_eq!(key(&path), key(&link));
    let copy = scratch.write("c.gguf", &tiny_gguf().build());
    assert_ne!(key(&path), key(&copy));
}
