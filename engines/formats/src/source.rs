//! Where bytes come from: a file or a slice, read at offsets, never mapped.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{FileId, FormatError, Result, Text};

/// Bytes that can be read at any offset.
pub trait Source {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// When the bytes end before `buf` is full, or the system refuses the read.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        (**self).len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).ok();
        let part = start.and_then(|start| self.get(start..start.checked_add(buf.len())?));
        match part {
            Some(part) => buf.copy_from_slice(part),
            None => {
                return Err(FormatError::malformed("<bytes>", format_args!("the bytes end before {offset}")));
            }
        }
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }
}

impl Source for File {
    /// The length now; 0 when the system cannot say.
    fn len(&self) -> u64 {
        self.metadata().map_or(0, |meta| meta.len())
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        FileExt::read_exact_at(self, buf, offset)
            .map_err(|source| FormatError::Io { path: Text::new("an open file"), source })
    }
}

/// A regular file that knows its path, length and identity as they were when it was opened.
#[derive(Debug)]
pub struct ModelFile {
    file: File,
    path: PathBuf,
    id: FileId,
}

impl ModelFile {
    /// Opens a regular file; links are followed.
    ///
    /// # Errors
    /// When there is no such file, when it is a folder, pipe or device, or when the system refuses.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| FormatError::io(path, source);
        // Asked before opening too, because opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(FormatError::missing(path, "not a regular file"));
        }
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(FormatError::missing(path, "not a regular file"));
        }
        Ok(Self { file, path: path.to_path_buf(), id: FileId::of(&meta) })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is, and in which state.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// The operating system's handle.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The last part of the path, for messages.
    pub(crate) fn name(&self) -> String {
        name_of(&self.path)
    }

    /// Reads the whole file, if it has at most `limit` bytes.
    pub(crate) fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        let size = self.len();
        if size > limit {
            return Err(FormatError::too_large(&self.name(), "its size in bytes", size, limit));
        }
        let mut bytes = zeroed(size, "a file's content")?;
        self.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }
}

impl Source for ModelFile {
    fn len(&self) -> u64 {
        self.id.size
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        FileExt::read_exact_at(&self.file, buf, offset).map_err(|source| FormatError::io(&self.path, source))
    }
}

/// The last part of a path, for messages.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// `len` zero bytes, or an error where the allocator has none.
pub(crate) fn zeroed(len: u64, what: &'static str) -> Result<Vec<u8>> {
    let refused = || FormatError::OutOfMemory { what, bytes: len };
    let size = usize::try_from(len).map_err(|_| refused())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| refused())?;
    bytes.resize(size, 0);
    Ok(bytes)
}

/// An empty vector with room for `count` items, or an error where the allocator has none. The caller has checked
/// `count` against the bytes left in the file.
pub(crate) fn reserved<T>(count: usize, what: &'static str) -> Result<Vec<T>> {
    let mut items = Vec::new();
    items.try_reserve_exact(count).map_err(|_| FormatError::OutOfMemory {
        what,
        bytes: (count as u64).saturating_mul(size_of::<T>() as u64),
    })?;
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_refuses_reads_past_its_end() {
        let bytes: &[u8] = &[1, 2, 3];
        let mut two = [0; 2];
        bytes.read_exact_at(1, &mut two).unwrap();
        assert_eq!(two, [2, 3]);
        assert!(bytes.read_exact_at(2, &mut two).is_err());
        assert!(bytes.read_exact_at(u64::MAX, &mut two).is_err());
    }

    #[test]
    fn only_regular_files_open() {
        assert!(ModelFile::open(Path::new("/dev/zero")).is_err());
        assert!(ModelFile::open(Path::new("/")).is_err());
        assert!(ModelFile::open(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_file_over_its_limit_is_not_read() {
        let this = ModelFile::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).unwrap();
        assert!(matches!(this.read_all(4), Err(FormatError::TooLarge { limit: 4, .. })));
        assert_eq!(this.read_all(1 << 20).unwrap().len() as u64, this.len());
    }
}
