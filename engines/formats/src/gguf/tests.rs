use crate::gguf::{GgufFile, parse};
use crate::testing::{Scratch, tiny_gguf};
use crate::{Architecture, Dtype, FormatError, open};

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
fn a_file_opens_whatever_its_name() {
    let scratch = Scratch::new("gguf");
    let model = open(&scratch.write("model.bin", &tiny_gguf().build())).unwrap();
    assert_eq!(model.config.layers, 2);
    let mut file = tiny_gguf();
    file.tensors.pop();
    let error = open(&scratch.write("short.gguf", &file.build())).unwrap_err();
    assert!(matches!(error, FormatError::TensorMissing { .. }), "{error}");
}
