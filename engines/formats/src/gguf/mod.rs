//! GGUF: one file with metadata, tokenizer tables and tensors; or several, the tensors spread over them.
//!
//! Layout, little endian: the magic, a version, two counts, the metadata keys, the tensor descriptions, and from the
//! next multiple of the alignment on the tensors themselves.

mod config;
mod cursor;
mod keys;
mod layers;
mod rope;
mod split;
mod tensors;
mod tokenizer;
mod value;

use std::collections::BTreeMap;

use crate::config::Family;
use crate::gguf::cursor::Cursor;
use crate::gguf::split::Split;
use crate::gguf::value::{Metadata, ValueType};
use crate::names::from_gguf;
use crate::source::Source;
use crate::tokens::{ChatTemplate, GgufTokenizer, TokenizerSource};
use crate::views;
use crate::{Checkpoint, Format, FormatError, GenerationConfig, ModelConfig, ModelFile, Result, TensorInfo};

/// The first four bytes of every GGUF file.
pub const MAGIC: &[u8] = b"GGUF";

/// A GGUF file, described and checked; tensor names are Hugging Face's, and [`TensorInfo::file`] is 0.
#[derive(Clone, Debug)]
pub struct GgufFile {
    /// The format's version: 2 or 3, which have the same layout.
    pub version: u32,
    /// What the model is.
    pub config: ModelConfig,
    /// Its tokenizer's tables.
    pub tokenizer: GgufTokenizer,
    /// Its chat template, when it has one.
    pub chat_template: Option<ChatTemplate>,
    /// Its end tokens; GGUF has no further generation settings.
    pub generation: GenerationConfig,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// Reads the description of a GGUF file; `name` is for messages. Tensors are described and their ranges checked, but
/// not whether they are the ones the configuration calls for: [`crate::open`] does that too, and finds the other parts
/// of a model that is split.
///
/// # Errors
/// When the file is malformed, larger than a limit, one part of several, or of a kind that is not supported.
pub fn parse(source: &dyn Source, name: &str) -> Result<GgufFile> {
    let part = Part::read(source, name)?;
    match part.split {
        None => part.describe(name),
        Some(split) => Err(split.advice(name)),
    }
}

/// Opens a GGUF file, with the other parts if it is the first of several, as a checkpoint and verifies its tensors.
pub(crate) fn open(file: &ModelFile) -> Result<Checkpoint> {
    let name = file.name();
    let mut part = Part::read(file, &name)?;
    let (mut files, mut file_ids) = (vec![file.path().to_path_buf()], vec![file.id()]);
    if let Some(split) = part.split {
        if split.number != 0 {
            return Err(split.advice(&name));
        }
        for number in 1..split.count {
            let sibling = split.open(file.path(), number)?;
            part.join(split, number, &sibling)?;
            files.push(sibling.path().to_path_buf());
            file_ids.push(sibling.id());
        }
        let (due, found) = (split.tensors, part.tensors.len());
        if due != found as u64 {
            let what = format_args!("split.tensors.count is {due}, but the parts have {found}");
            return Err(FormatError::malformed(&name, what));
        }
    }
    let parsed = part.describe(&name)?;
    let checkpoint = Checkpoint {
        format: Format::Gguf,
        files,
        tensors: parsed.tensors,
        config: parsed.config,
        tokenizer: TokenizerSource::Gguf(parsed.tokenizer),
        chat_template: parsed.chat_template,
        generation: parsed.generation,
        file_ids,
        side_ids: Vec::new(),
    };
    checkpoint.verify()?;
    Ok(checkpoint)
}

/// One file: a whole model, or a part of one.
struct Part {
    version: u32,
    metadata: Metadata,
    split: Option<Split>,
    /// What the first part or a whole model says it is.
    family: Option<&'static Family>,
    /// Under the file's names.
    tensors: Vec<TensorInfo>,
}

impl Part {
    fn read(source: &dyn Source, name: &str) -> Result<Self> {
        let mut cursor = Cursor::new(source, name);
        let mut magic = [0; 4];
        cursor.read(&mut magic)?;
        if magic != MAGIC {
            return Err(FormatError::malformed(name, "it does not begin with GGUF"));
        }
        let version = version(&mut cursor, name)?;
        let tensor_count = cursor.u64()?;
        let key_count = cursor.u64()?;

        let metadata = Metadata::read(&mut cursor, name, key_count)?;
        let split = Split::read(&metadata, name)?;
        let alignment = alignment(&metadata, name)?;
        // Refused before the tensors are read, so that the reason given is the one that matters.
        let family = match split {
            Some(split) if split.number > 0 => None,
            _ => Some(config::family(&metadata, name)?),
        };

        let raw = tensors::read(&mut cursor, name, tensor_count)?;
        let data = cursor.position().checked_next_multiple_of(alignment);
        let data = data.filter(|start| *start <= source.len() || tensor_count == 0);
        let Some(data) = data else {
            return Err(FormatError::malformed(name, "the file ends before its first tensor"));
        };
        let tensors = tensors::place(raw, name, data, source.len(), alignment)?;
        Ok(Part { version, metadata, split, family, tensors })
    }

    /// Takes over the tensors of another part of the same model.
    fn join(&mut self, split: Split, number: u64, file: &ModelFile) -> Result<()> {
        const KEY: &str = "general.architecture";
        let name = file.name();
        let mut other = Part::read(file, &name)?;
        split.expect(number, other.split, &name)?;
        if let (Some(theirs), Some(ours)) = (other.metadata.text(KEY)?, self.metadata.text(KEY)?)
            && theirs != ours
        {
            let what =
                format_args!("it is of a model of architecture {theirs:?}; the first part's is {ours:?}");
            return Err(FormatError::malformed(&name, what));
        }
        // The limit on parts is far below 2^32.
        other.tensors.iter_mut().for_each(|tensor| tensor.file = number as usize);
        let all = self.tensors.len().saturating_add(other.tensors.len());
        if all as u64 > tensors::MAX_TENSORS {
            let (count, most) = (all as u64, tensors::MAX_TENSORS);
            return Err(FormatError::too_large(&name, "the number of tensors of all parts", count, most));
        }
        self.tensors.append(&mut other.tensors);
        Ok(())
    }

    /// What the model is.
    fn describe(self, name: &str) -> Result<GgufFile> {
        let Part { version, mut metadata, family, tensors: raw, split: _ } = self;
        let Some(family) = family else {
            return Err(FormatError::malformed(name, "it does not say what the model is"));
        };
        let mut tensors = BTreeMap::new();
        for mut tensor in raw {
            // A name without a counterpart stays as it is, for the message that refuses it.
            if let Some(ours) = from_gguf(&tensor.name, family) {
                tensor.name = ours;
            }
            if let Some(twice) = tensors.insert(tensor.name.clone(), tensor) {
                return Err(FormatError::malformed(
                    name,
                    format_args!("tensor {:?} appears twice", twice.name),
                ));
            }
        }

        let tokenizer = tokenizer::read(&mut metadata, name)?;
        let config = config::read(&metadata, name, family, &tokenizer, &tensors)?;
        let tensors = views::split(tensors, &config, name)?;
        let chat_template = tokenizer::chat_template(&mut metadata, name, &tokenizer)?;
        let mut eos: Vec<u32> = [tokenizer.eos, tokenizer.eot, tokenizer.eom].into_iter().flatten().collect();
        eos.sort_unstable();
        eos.dedup();
        let generation = GenerationConfig { eos, ..GenerationConfig::default() };
        Ok(GgufFile { version, config, tokenizer, chat_template, generation, tensors })
    }
}

fn version(cursor: &mut Cursor<'_>, name: &str) -> Result<u32> {
    match cursor.u32()? {
        version @ (2 | 3) => Ok(version),
        version if matches!(version.swap_bytes(), 1..=3) => {
            Err(FormatError::unsupported(name, "big-endian GGUF"))
        }
        version => {
            Err(FormatError::unsupported(name, format_args!("GGUF version {version}; 2 and 3 are read")))
        }
    }
}

/// Where tensors may begin: multiples of this many bytes from the start of the data.
fn alignment(metadata: &Metadata, name: &str) -> Result<u64> {
    const KEY: &str = "general.alignment";
    const DEFAULT: u64 = 32;
    let Some((alignment, kind)) = metadata.whole_typed(KEY)? else { return Ok(DEFAULT) };
    if kind != ValueType::U32 {
        return Err(FormatError::malformed(name, format_args!("{KEY} is of type {kind}; u32 is needed")));
    }
    if !alignment.is_power_of_two() || !(8..=1 << 20).contains(&alignment) {
        let what = format_args!("{KEY} is {alignment}; a power of two from 8 to {} is needed", 1 << 20);
        return Err(FormatError::malformed(name, what));
    }
    Ok(alignment)
}

#[cfg(test)]
mod tests;
