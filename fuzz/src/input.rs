//! What a sequence of calls reads its arguments from.

use std::ffi::c_char;
use std::ptr::null;

/// The rest of the input, read a piece at a time; zeros after its end.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(len.min(self.0.len()));
        self.0 = later;
        now
    }

    /// A number of no sense as often as a small one.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small % 40),
            200..=209 => u64::from(u32::MAX),
            210..=219 => u64::MAX,
            220..=229 => i64::MAX as u64,
            _ => self.take(8).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        }
    }

    pub(super) fn float(&mut self) -> f32 {
        match self.byte() {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => -1.0,
            3 => -0.0,
            4 => f32::MIN_POSITIVE / 2.0,
            byte => f32::from(byte) / 128.0,
        }
    }

    /// Some bytes, UTF-8 or not; or NULL with a length.
    pub(super) fn text(&mut self) -> (*const c_char, usize) {
        let len = self.byte();
        if len == 255 {
            return (null(), 5);
        }
        let text = self.take(usize::from(len % 64));
        (text.as_ptr().cast(), text.len())
    }
}
