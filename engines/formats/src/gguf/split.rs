//! Models in several files: which part a file is, and where the others are.
//!
//! Every part says its number, the number of parts and the tensors of all of them. The first has the metadata; the others
//! are found by its name, which ends in `-00001-of-00003.gguf`.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::gguf::value::Metadata;
use crate::{FormatError, ModelFile, Result};

/// The most parts of a model. The format's own limit is higher; the largest published models have a few hundred.
const MAX_PARTS: u64 = 4096;

/// Which part of a model a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Counted from 0.
    pub(super) number: u64,
    /// Above 1.
    pub(super) count: u64,
    /// Tensors of all parts together.
    pub(super) tensors: u64,
}

impl Split {
    /// What the keys say; `None` for a model that is whole. Tools that join parts leave a count of 0.
    pub(super) fn read(metadata: &Metadata, file: &str) -> Result<Option<Self>> {
        let Some(count) = metadata.whole("split.count")?.filter(|count| *count > 1) else { return Ok(None) };
        if count > MAX_PARTS {
            return Err(FormatError::too_large(file, "the number of parts", count, MAX_PARTS));
        }
        let need = |key: &str| {
            let absent = || FormatError::malformed(file, format_args!("the key {key} is missing"));
            metadata.whole(key)?.ok_or_else(absent)
        };
        let (number, tensors) = (need("split.no")?, need("split.tensors.count")?);
        if number >= count {
            let what = format_args!("split.no is {number}, of {count} parts counted from 0");
            return Err(FormatError::malformed(file, what));
        }
        Ok(Some(Split { number, count, tensors }))
    }

    /// That this part alone is no model, and what to open instead.
    pub(super) fn advice(self, file: &str) -> FormatError {
        let (part, count) = (self.number + 1, self.count);
        let what = format_args!(
            "it is part {part} of {count} of a split model; open the first, whose name ends in {}",
            suffix(0, count)
        );
        FormatError::unsupported(file, what)
    }

    /// Opens another part beside the first one.
    pub(super) fn open(self, first: &Path, number: u64) -> Result<ModelFile> {
        let count = self.count;
        let Some(path) = sibling(first, number, count) else {
            let end = suffix(0, count);
            let what =
                format_args!("the first of {count} parts; its name must end in {end} to find the others");
            return Err(FormatError::missing(first, what));
        };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format_args!("part {} of {count} is absent", number + 1);
                Err(FormatError::missing(&path, what))
            }
            _ => ModelFile::open(&path),
        }
    }

    /// Checks that a file is the part that was looked for.
    pub(super) fn expect(self, number: u64, found: Option<Self>, file: &str) -> Result<()> {
        let due = Split { number, ..self };
        if found == Some(due) {
            return Ok(());
        }
        let found = match found {
            None => "no part of a split model".to_owned(),
            Some(Split { number, count, tensors }) => {
                format!("part {} of {count} with {tensors} tensors", number + 1)
            }
        };
        let (part, count, tensors) = (number + 1, self.count, self.tensors);
        let what = format_args!("part {part} of {count} with {tensors} tensors is due; it is {found}");
        Err(FormatError::malformed(file, what))
    }
}

/// How the name of a part ends.
fn suffix(number: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", number + 1)
}

/// The path of another part; `None` when the first one's name does not say that it is the first.
fn sibling(first: &Path, number: u64, count: u64) -> Option<PathBuf> {
    let stem = first.file_name()?.as_bytes().strip_suffix(suffix(0, count).as_bytes())?;
    let mut name = OsStr::from_bytes(stem).to_owned().into_vec();
    name.extend(suffix(number, count).bytes());
    Some(first.with_file_name(OsStr::from_bytes(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_after_the_first() {
        let found = sibling(Path::new("/a/m-00001-of-00003.gguf"), 2, 3);
        assert_eq!(found, Some(PathBuf::from("/a/m-00003-of-00003.gguf")));
        let odd = OsStr::from_bytes(b"/a/\xff-00001-of-00002.gguf");
        let found = sibling(Path::new(odd), 1, 2).unwrap();
        assert_eq!(found.as_os_str().as_bytes(), b"/a/\xff-00002-of-00002.gguf");
        for name in ["m.gguf", "m-00002-of-00003.gguf", "m-00001-of-00002.gguf", "", "/"] {
            assert_eq!(sibling(Path::new(name), 1, 3), None, "{name}");
        }
    }
}
