//! A model on disk, described and checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::source::{Source, name_of};
use crate::{
    ChatTemplate, Dtype, FileId, FormatError, GenerationConfig, ModelConfig, ModelFile, Result,
    TokenizerSource, gguf, hf,
};

/// How a model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A Hugging Face folder.
    Folder,
    /// A GGUF file, or the parts of one.
    Gguf,
}

/// Where a tensor lies. Checked: `bytes` follows from shape and type, and the range is inside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in Hugging Face's convention.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Row-major, outermost dimension first: `[out, in]` for a matrix.
    pub shape: Vec<u64>,
    /// The index of its file in [`Checkpoint::files`].
    pub file: usize,
    /// Its first byte, counted from the start of the file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A model on disk: what it is and where its parts are.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// How it is stored.
    pub format: Format,
    /// The files that hold weights.
    pub files: Vec<PathBuf>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// What the model is.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: TokenizerSource,
    /// Its chat template, when it has one.
    pub chat_template: Option<ChatTemplate>,
    /// How its authors want it sampled.
    pub generation: GenerationConfig,
    /// The identities of `files`, in their order.
    pub(crate) file_ids: Vec<FileId>,
    /// The identities of the other files that were read: configuration, tokenizer, template.
    pub(crate) side_ids: Vec<FileId>,
}

impl Checkpoint {
    /// Opens the weight file of that index again, to read tensors from.
    ///
    /// # Errors
    /// When it is no longer the file that was described, or cannot be opened.
    pub fn open_file(&self, index: usize) -> Result<ModelFile> {
        let (Some(path), Some(id)) = (self.files.get(index), self.file_ids.get(index)) else {
            return Err(FormatError::malformed(
                &self.name(),
                format_args!("there is no weight file {index}"),
            ));
        };
        let file = ModelFile::open(path)?;
        if file.id() != *id {
            return Err(FormatError::Changed { path: crate::Text::new(path.display()) });
        }
        Ok(file)
    }

    /// The bytes of all tensors together.
    pub fn weight_bytes(&self) -> u64 {
        // Each tensor is inside a file, and tensors of a file do not overlap.
        self.tensors.values().fold(0, |sum, tensor| sum.saturating_add(tensor.bytes))
    }

    /// The first weight file's name, for messages.
    pub(crate) fn name(&self) -> String {
        self.files.first().map_or_else(|| "the model".to_owned(), |path| name_of(path))
    }
}

/// Opens a model: a folder with `config.json`, or a GGUF file, told apart by content and not by name.
///
/// # Errors
/// Says what is missing, malformed or not supported, naming the file and the key or tensor.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let meta = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(FormatError::missing(path, "there is no such file or folder"));
        }
        other => other.map_err(|error| FormatError::io(path, error))?,
    };
    if meta.is_dir() {
        return hf::open(path);
    }
    let file = ModelFile::open(path)?;
    let mut head = [0; 8];
    let head = match file.len().min(head.len() as u64) as usize {
        0 => return Err(FormatError::malformed(&file.name(), "it is empty")),
        len => &mut head[..len],
    };
    file.read_exact_at(0, head)?;
    if head.starts_with(gguf::MAGIC) {
        return gguf::open(&file);
    }
    Err(FormatError::unsupported(&file.name(), advice(path, head)))
}

/// What to do with a file that is no GGUF file.
fn advice(path: &Path, head: &[u8]) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("safetensors" | "json") => {
            "pass the folder it is in, which also holds config.json and tokenizer.json"
        }
        // A zip archive, or Python's pickle.
        _ if head.starts_with(b"PK") || head.starts_with(b"\x80") => {
            "it looks like a PyTorch pickle, which can run code when read; convert it to safetensors"
        }
        _ => "it is neither a GGUF file nor a folder with config.json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn what_is_no_model_gets_advice() {
        let scratch = Scratch::new("advice");
        let cases: &[(&str, &[u8], &str)] = &[
            ("empty.gguf", b"", "empty"),
            ("a.safetensors", b"\x10\0\0\0\0\0\0\0{}", "pass the folder"),
            ("a.bin", b"PK\x03\x04....", "convert it to safetensors"),
            ("a.pt", b"\x80\x02}q", "convert it to safetensors"),
            ("a.txt", b"hello", "neither a GGUF file"),
            ("four", b"GGUF", "ends"),
        ];
        for (name, bytes, word) in cases {
            let error = open(&scratch.write(name, bytes)).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        let error = open(&scratch.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("no such file"), "{error}");
        let error = open(scratch.path()).unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
    }
}
