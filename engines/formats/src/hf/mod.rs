//! Hugging Face folders: `config.json`, safetensors, `tokenizer.json` and their companions.

pub mod config;
mod experts;
pub mod generation;
pub mod index;
mod keys;
mod rope;
pub mod safetensors;
pub mod tokenizer_config;
mod window;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::names::from_folder;
use crate::source::{Source, name_of};
use crate::views;
use crate::{
    Architecture, Checkpoint, FileId, Format, FormatError, ModelFile, Result, TensorInfo, TokenizerSource,
};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const TOOL_TEMPLATE: &str = "additional_chat_templates/tool_use.jinja";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The largest `config.json` and the like, in bytes.
const MAX_CONFIG: u64 = 16 << 20;
/// The largest `tokenizer.json`, in bytes.
const MAX_TOKENIZER: u64 = 128 << 20;
/// How many names of a folder are looked at to give advice.
const MAX_LISTED: usize = 4096;

/// Opens a folder as a checkpoint and verifies its tensors.
pub(crate) fn open(path: &Path) -> Result<Checkpoint> {
    let mut folder = Folder { path, read: Vec::new() };
    let Some(bytes) = folder.read(CONFIG, MAX_CONFIG)? else {
        let what = match folder.has_file_ending(&[".gguf"]) {
            true => "the folder has no config.json; to open a GGUF file, pass the file itself",
            false => "the folder has no config.json, so it is no Hugging Face model",
        };
        return Err(FormatError::missing(path, what));
    };
    let config = config::parse(&bytes)?;

    let mut generation = match folder.read(GENERATION, MAX_CONFIG)? {
        Some(bytes) => generation::parse(&bytes)?,
        None => Default::default(),
    };
    config.check_ids(GENERATION, "eos", &generation.eos)?;
    if generation.eos.is_empty() {
        generation.eos.clone_from(&config.eos);
    }

    let Some(tokenizer) = folder.read(TOKENIZER, MAX_TOKENIZER)? else {
        let what = match folder.open("tokenizer.model")? {
            Some(_) => {
                "the folder has a SentencePiece tokenizer.model but no tokenizer.json; write one with transformers: \
                 AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            }
            None => "the folder has no tokenizer.json",
        };
        return Err(FormatError::missing(path, what));
    };
    let texts = match folder.read(TOKENIZER_CONFIG, MAX_CONFIG)? {
        Some(bytes) => tokenizer_config::parse(&bytes)?,
        None => Default::default(),
    };
    let template = folder.template(TEMPLATE)?;
    let tool_use = folder.template(TOOL_TEMPLATE)?;

    let mut weights = folder.weights()?;
    weights.rename(config.architecture)?;
    weights.tensors = views::split(weights.tensors, &config, WEIGHTS)?;
    let checkpoint = Checkpoint {
        format: Format::Folder,
        files: weights.files,
        tensors: weights.tensors,
        config,
        tokenizer: TokenizerSource::Json(tokenizer),
        chat_template: texts.into_template(template, tool_use),
        generation,
        file_ids: weights.ids,
        side_ids: folder.read,
    };
    checkpoint.verify()?;
    Ok(checkpoint)
}

/// Where a folder's tensors are.
#[derive(Default)]
struct Weights {
    files: Vec<PathBuf>,
    ids: Vec<FileId>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// A folder, and which of its files took part so far.
struct Folder<'a> {
    path: &'a Path,
    read: Vec<FileId>,
}

impl Folder<'_> {
    /// Opens a file of the folder, if it is there.
    fn open(&self, name: &str) -> Result<Option<ModelFile>> {
        let path = self.path.join(name);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FormatError::io(&path, error)),
            Ok(_) => ModelFile::open(&path).map(Some),
        }
    }

    /// Reads a file of the folder, if it is there.
    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let bytes = file.read_all(limit)?;
        self.read.push(file.id());
        Ok(Some(bytes))
    }

    /// Reads a template file of the folder, if it is there.
    fn template(&mut self, name: &str) -> Result<Option<String>> {
        let Some(bytes) = self.read(name, tokenizer_config::MAX_TEMPLATE)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| FormatError::malformed(name, "it is not UTF-8"))
    }

    fn weights(&mut self) -> Result<Weights> {
        let mut weights = Weights::default();
        if let Some(file) = self.open(WEIGHTS)? {
            weights.add(&file, |_| true)?;
            return Ok(weights);
        }
        let Some(bytes) = self.read(INDEX, MAX_CONFIG)? else {
            return Err(self.no_weights());
        };
        let index = index::parse(&bytes)?;
        for (number, shard) in index.shards.iter().enumerate() {
            let Some(file) = self.open(shard)? else {
                return Err(FormatError::missing(
                    &self.path.join(shard),
                    "the index names this file, but it is absent",
                ));
            };
            weights.add(&file, |tensor| index.weight_map.get(tensor) == Some(&number))?;
        }
        match index.weight_map.iter().find(|(tensor, _)| !weights.tensors.contains_key(*tensor)) {
            None => Ok(weights),
            Some((tensor, shard)) => {
                let shard = &index.shards[*shard];
                let what = format_args!("it places tensor {tensor:?} in {shard}, which has no such tensor");
                Err(FormatError::malformed(INDEX, what))
            }
        }
    }

    fn no_weights(&self) -> FormatError {
        if self.has_file_ending(&[".bin", ".pt", ".pth"]) {
            let what =
                "its weights are PyTorch pickles, which can run code when read; convert them to safetensors";
            return FormatError::unsupported(&name_of(self.path), what);
        }
        FormatError::missing(self.path, format_args!("the folder has neither {WEIGHTS} nor {INDEX}"))
    }

    /// Whether a file of the folder has one of these endings; used for advice only.
    fn has_file_ending(&self, endings: &[&str]) -> bool {
        let Ok(entries) = std::fs::read_dir(self.path) else { return false };
        entries.take(MAX_LISTED).flatten().any(|entry| {
            let name = entry.file_name();
            endings.iter().any(|ending| name.to_string_lossy().ends_with(ending))
        })
    }
}

impl Weights {
    /// Adds a file's tensors. `belongs` says whether the index places a tensor in this file.
    fn add(&mut self, file: &ModelFile, belongs: impl Fn(&str) -> bool) -> Result<()> {
        let name = file.name();
        let number = self.files.len();
        for mut tensor in safetensors::parse_header(file as &dyn Source, &name)? {
            if !belongs(&tensor.name) {
                let what =
                    format_args!("it has tensor {:?}, which the index does not place here", tensor.name);
                return Err(FormatError::malformed(&name, what));
            }
            tensor.file = number;
            self.tensors.insert(tensor.name.clone(), tensor);
        }
        self.files.push(file.path().to_path_buf());
        self.ids.push(file.id());
        Ok(())
    }

    /// Gives the tensors the names that all families share, and leaves out those that text does not need.
    fn rename(&mut self, architecture: Architecture) -> Result<()> {
        for (theirs, mut tensor) in std::mem::take(&mut self.tensors) {
            let Some(ours) = from_folder(&theirs, architecture) else { continue };
            tensor.name.clone_from(&ours);
            if let Some(twice) = self.tensors.insert(ours, tensor) {
                let what = format_args!("tensor {:?} is there under two names", twice.name);
                return Err(FormatError::malformed(WEIGHTS, what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
