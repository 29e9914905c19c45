//! Which files a model is made of, so that two loads of the same files can share one set of weights.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use crate::Checkpoint;

/// One file in one state: replaced, grown or rewritten files differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device the file is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i128,
}

impl FileId {
    /// Reads the identity out of a file's metadata.
    pub fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        }
    }
}

/// The identity of every file that takes part in a model: weights, configuration, tokenizer and template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelKey(Vec<FileId>);

impl ModelKey {
    /// The files, in the order they were opened.
    pub fn files(&self) -> &[FileId] {
        &self.0
    }
}

/// The key under which loads of the same model meet. Paths do not matter: a link to the folder, or a folder of
/// links to the same files, gives the same key.
pub fn fingerprint(checkpoint: &Checkpoint) -> ModelKey {
    ModelKey(checkpoint.side_ids.iter().chain(&checkpoint.file_ids).copied().collect())
}
