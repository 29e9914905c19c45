//! Reading a source from front to back, never past its end.

use crate::source::Source;
use crate::{FormatError, Result};

/// How much is read from the source at once.
const BUFFER: usize = 64 << 10;

/// A position in a source that knows how many bytes are left.
pub(super) struct Cursor<'a> {
    source: &'a dyn Source,
    file: &'a str,
    /// The source's length when reading began.
    len: u64,
    /// The offset of `buffer[0]`.
    start: u64,
    /// How much of the buffer has been consumed.
    used: usize,
    buffer: Vec<u8>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a dyn Source, file: &'a str) -> Self {
        Self { source, file, len: source.len(), start: 0, used: 0, buffer: Vec::new() }
    }

    /// The offset of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.start + self.used as u64
    }

    /// The bytes after the position.
    pub(super) fn remaining(&self) -> u64 {
        self.len.saturating_sub(self.position())
    }

    /// Fills `out`.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<()> {
        self.require(out.len() as u64)?;
        if out.len() >= BUFFER {
            let position = self.position();
            self.source.read_exact_at(position, out)?;
            self.jump(position + out.len() as u64);
            return Ok(());
        }
        let mut done = 0;
        while done < out.len() {
            if self.used == self.buffer.len() {
                self.refill()?;
            }
            let n = (out.len() - done).min(self.buffer.len() - self.used);
            out[done..done + n].copy_from_slice(&self.buffer[self.used..self.used + n]);
            self.used += n;
            done += n;
        }
        Ok(())
    }

    /// Passes over `n` bytes.
    pub(super) fn skip(&mut self, n: u64) -> Result<()> {
        self.require(n)?;
        let buffered = (self.buffer.len() - self.used) as u64;
        if n <= buffered {
            self.used += n as usize;
        } else {
            self.jump(self.position() + n);
        }
        Ok(())
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// A string's length, checked against the bytes left.
    pub(super) fn string_len(&mut self) -> Result<u64> {
        let len = self.u64()?;
        self.require(len)?;
        Ok(len)
    }

    /// A string of at most `limit` bytes; `what` names it in errors.
    pub(super) fn string(&mut self, limit: u64, what: &'static str) -> Result<String> {
        let at = self.position();
        let len = self.string_len()?;
        if len > limit {
            return Err(FormatError::too_large(
                self.file,
                format_args!("the length of {what} in bytes"),
                len,
                limit,
            ));
        }
        let mut bytes = crate::source::zeroed(len, what)?;
        self.read(&mut bytes)?;
        String::from_utf8(bytes)
            .map_err(|_| FormatError::malformed(self.file, format_args!("{what} at byte {at} is not UTF-8")))
    }

    /// Checks that `count` records of at least `min_bytes` each can still follow.
    pub(super) fn count(&self, count: u64, min_bytes: u64, what: &str) -> Result<usize> {
        let most = self.remaining() / min_bytes;
        match usize::try_from(count) {
            Ok(fits) if count <= most => Ok(fits),
            _ => {
                let left = self.remaining();
                let what = format_args!("it announces {count} {what}, but only {left} bytes are left");
                Err(FormatError::malformed(self.file, what))
            }
        }
    }

    fn require(&self, n: u64) -> Result<()> {
        if n <= self.remaining() {
            return Ok(());
        }
        let (at, left) = (self.position(), self.remaining());
        let what =
            format_args!("the file ends too early: {n} bytes are due at byte {at}, and {left} are left");
        Err(FormatError::malformed(self.file, what))
    }

    /// Reads the next stretch; called only with bytes left.
    fn refill(&mut self) -> Result<()> {
        let position = self.position();
        let n = self.remaining().min(BUFFER as u64) as usize;
        self.buffer.resize(n, 0);
        self.source.read_exact_at(position, &mut self.buffer)?;
        (self.start, self.used) = (position, 0);
        Ok(())
    }

    fn jump(&mut self, position: u64) {
        self.buffer.clear();
        (self.start, self.used) = (position, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cross_the_buffer_and_stop_at_the_end() {
        let bytes: Vec<u8> = (0..BUFFER + 100).map(|i| i as u8).collect();
        let mut cursor = Cursor::new(&bytes, "t");
        cursor.skip(BUFFER as u64 - 2).unwrap();
        assert_eq!(cursor.u32().unwrap().to_le_bytes()[..], bytes[BUFFER - 2..BUFFER + 2]);
        assert_eq!(cursor.remaining(), 98);
        assert!(cursor.skip(99).is_err());
        assert!(cursor.skip(u64::MAX).is_err());
        cursor.skip(97).unwrap();
        assert_eq!(cursor.u8().unwrap(), bytes[BUFFER + 99]);
        assert!(cursor.u8().is_err());
        let mut cursor = Cursor::new(&bytes, "t");
        cursor.u8().unwrap();
        let mut long = vec![0; BUFFER + 50];
        cursor.read(&mut long).unwrap();
        assert_eq!(long, bytes[1..BUFFER + 51]);
        assert_eq!(cursor.u8().unwrap(), bytes[BUFFER + 51]);
    }

    #[test]
    fn counts_and_strings_never_exceed_what_is_left() {
        let bytes = 20_u64.to_le_bytes().to_vec();
        let mut cursor = Cursor::new(&bytes, "t");
        assert_eq!(cursor.count(2, 4, "x").unwrap(), 2);
        assert!(cursor.count(3, 4, "x").is_err());
        assert!(cursor.count(u64::MAX, 4, "x").is_err());
        assert!(cursor.string(100, "a name").is_err());
    }
}
