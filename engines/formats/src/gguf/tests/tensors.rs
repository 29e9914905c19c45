//! Tensor descriptions whose numbers wrap, overlap or leave the file.

use super::{refusal, spoiled};
use crate::testing::{Gguf, Scratch, tiny_gguf};
use crate::{FormatError, open};

#[test]
fn ranks_and_dimensions_are_bounded() {
    for rank in [0, 5, u32::MAX] {
        spoiled("dimensions", |file| file.named("output_norm.weight").rank = rank);
    }
    for dims in [
        &[0][..],
        &[u64::MAX],
        &[1 << 62],
        &[1 << 32, 1 << 32],
        &[1 << 40, 1 << 40],
        &[32, 0],
        &[1152, (1 << 42) + 1, 1 << 20],
        &[1 << 16, 1 << 16, 1 << 16, 1 << 16],
    ] {
        spoiled("", |file| {
            let tensor = file.named("output_norm.weight");
            (tensor.dims, tensor.rank) = (dims.to_vec(), dims.len() as u32);
        });
    }
    // A row of Q8_0 that is no whole number of blocks, though the whole tensor is.
    spoiled("no multiple of 32", |file| file.named("blk.0.ffn_up.weight").dims = vec![16, 128]);
}

#[test]
fn other_types_are_named_with_their_tensor() {
    for (kind, name) in
        [(16, "IQ2_XXS"), (4, "retired"), (u32::MAX, "unknown"), (0x7fff_ffff, "unknown"), (43, "unknown")]
    {
        let mut file = tiny_gguf();
        file.named("blk.1.attn_q.weight").kind = kind;
        let error = refusal(&file);
        assert!(error.contains(name) && error.contains("blk.1.attn_q.weight"), "{error}");
    }
}

#[test]
fn offsets_follow_each_other_inside_the_file() {
    for change in [1_u64, 16, 32, 4096, u64::MAX] {
        spoiled("is due", |file| {
            let tensor = file.named("blk.0.attn_k.weight");
            tensor.offset = tensor.offset.wrapping_add(change);
        });
    }
    // Two tensors over the same bytes.
    spoiled("is due", |file| file.named("blk.0.attn_k.weight").offset = 0);
    spoiled("is due", |file| {
        for tensor in &mut file.tensors {
            tensor.offset += 32;
        }
    });
}

#[test]
fn a_tensor_that_ends_past_the_file_is_refused() {
    let mut bytes = tiny_gguf().build();
    bytes.pop();
    let error = crate::gguf::parse(&bytes, "t").unwrap_err().to_string();
    assert!(error.contains("ends past the file"), "{error}");
    spoiled("ends past the file", |file| file.tensors.last_mut().unwrap().dims = vec![64, 1 << 50]);
}

#[test]
fn sizes_whose_sum_wraps_are_refused() {
    let mut file = Gguf::new();
    file.keys = tiny_gguf().keys;
    let huge = 0x3fff_ffff_ffff_ffe0_u64;
    file.tensor("a", &[32], crate::Dtype::Q8_0).tensor("b", &[32], crate::Dtype::Q8_0);
    for tensor in &mut file.tensors {
        tensor.dims = vec![huge];
    }
    file.tensors[1].offset = huge / 32 * 34;
    assert!(refusal(&file).contains("past"), "{}", refusal(&file));
    // A type of two bytes, whose size passes 2^63 while the count does not.
    file.tensors.iter_mut().for_each(|tensor| (tensor.kind, tensor.dims) = (1, vec![1 << 62]));
    assert!(refusal(&file).contains("impossible shape"));
}

#[test]
fn names_are_short_unique_and_known() {
    spoiled("the length of a tensor's name", |file| file.named("output_norm.weight").name = vec![b'a'; 64]);
    spoiled("has no name", |file| file.named("output_norm.weight").name.clear());
    spoiled("not UTF-8", |file| file.named("output_norm.weight").name = vec![0xff]);
    spoiled("twice", |file| file.named("blk.0.ffn_up.weight").name = b"blk.0.ffn_gate.weight".to_vec());
    // Another spelling of a name that is taken.
    spoiled("twice", |file| file.named("output_norm.weight").name = b"model.embed_tokens.weight".to_vec());

    let scratch = Scratch::new("names");
    for name in ["../x", "blk.0.ffn_gate_exps.weight", "blk.2.attn_q.weight", "blk.00.attn_q.weight"] {
        let mut file = tiny_gguf();
        file.tensor(name, &[32], crate::Dtype::F32);
        let error = open(&scratch.write("t.gguf", &file.build())).unwrap_err();
        assert!(matches!(error, FormatError::TensorUnexpected { .. }), "{name}: {error}");
    }
}

#[test]
fn shapes_must_follow_from_the_keys() {
    let scratch = Scratch::new("shapes");
    let mut file = tiny_gguf();
    file.u32("llama.feed_forward_length", 65);
    let error = open(&scratch.write("t.gguf", &file.build())).unwrap_err();
    assert!(matches!(error, FormatError::Shape { .. }), "{error}");
    file = tiny_gguf();
    file.u32("llama.block_count", 1);
    let error = open(&scratch.write("t.gguf", &file.build())).unwrap_err();
    assert!(matches!(error, FormatError::TensorUnexpected { .. }), "{error}");
}
