//! Readers of model files.

use super::halves;
use super::heap::bounded;
use plimsoll_formats::{TensorInfo, expected_tensors, gguf as gguf_file, hf, safetensors as shard};

const BASE: usize = 1 << 20;

/// What a reader promises of the tensors it describes: sizes that follow from shape and type, inside the file, apart
/// from each other.
fn sound<'a>(tensors: impl Iterator<Item = &'a TensorInfo>, file: u64) {
    let mut ranges = Vec::new();
    for tensor in tensors {
        let elements = tensor.shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim));
        let bytes = elements.and_then(|elements| tensor.dtype.bytes_for(elements));
        assert_eq!(bytes, Some(tensor.bytes), "{tensor:?}");
        let end = tensor.offset.checked_add(tensor.bytes);
        assert!(end.is_some_and(|end| end <= file), "{tensor:?} in {file} bytes");
        ranges.push((tensor.offset, tensor.bytes));
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?} overlap");
    }
}

/// A whole GGUF file.
pub fn gguf(bytes: &[u8]) {
    let read = bounded("gguf", bytes.len(), BASE, || gguf_file::parse(&bytes, "fuzz.gguf"));
    if let Ok(file) = read {
        file.config.check("fuzz.gguf").expect("what was read is checked");
        sound(file.tensors.values(), bytes.len() as u64);
        let _ = expected_tensors(&file.config).len();
    }
}

/// A whole safetensors file.
pub fn safetensors(bytes: &[u8]) {
    let read = bounded("safetensors", bytes.len(), BASE, || shard::parse_header(&bytes, "fuzz.safetensors"));
    if let Ok(tensors) = read {
        sound(tensors.iter(), bytes.len() as u64);
    }
}

/// `config.json` and, after a NUL, `model.safetensors.index.json`; both are also read as the folder's other files.
pub fn config(bytes: &[u8]) {
    let (config, index) = halves(bytes);
    let read = bounded("config", config.len(), BASE, || plimsoll_formats::config::parse(config));
    if let Ok(config) = read {
        config.check("config.json").expect("what was read is checked");
    }
    let read = bounded("index", index.len(), BASE, || hf::index::parse(index));
    if let Ok(index) = read {
        for shard in &index.shards {
            let plain =
                !shard.is_empty() && !shard.contains(['/', '\\', '\0']) && shard != "." && shard != "..";
            assert!(plain, "{shard:?} leads out of the folder");
        }
        assert!(index.weight_map.values().all(|shard| *shard < index.shards.len()));
    }
    for part in [config, index] {
        let _ = bounded("generation", part.len(), BASE, || hf::generation::parse(part).is_ok());
        let _ = bounded("tokenizer_config", part.len(), BASE, || hf::tokenizer_config::parse(part).is_ok());
    }
}
