//! safetensors files: S1 to S4. (S5, a file that shrinks while it is read, is in `main`.)

use crate::attack::{Attack, Outcome, spoilt};
use plimsoll::ErrorCode::ModelMalformed;

const NAME: &str = "model.safetensors";

fn whole(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

fn attack(id: &'static str, what: impl Into<String>, bytes: Vec<u8>) -> Attack {
    Attack::load(id, what, ModelMalformed, spoilt("llama3", move |folder| drop(folder.write(NAME, &bytes))))
}

/// One tensor's entry.
fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{begin},{end}]}}"#)
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    let mut attacks = Vec::new();
    let mut s1 = |what: &str, bytes: Vec<u8>| attacks.push(attack("S1", what, bytes));
    s1("empty", vec![]);
    s1("7 bytes", vec![2, 0, 0, 0, 0, 0, 0]);
    s1("a length alone", vec![0x3c, 0, 0, 0, 0, 0, 0, 0]);
    for length in [1000_u64, 100_000_001, 0x3c00_0000_0000_00ff, u64::MAX, u64::MAX - 7] {
        s1(&format!("a header of {length} bytes"), [&length.to_le_bytes()[..], b"{}"].concat());
    }

    let deep = format!("{{{}", "\"a\":{".repeat(100_000));
    let entries: Vec<_> = (0..200_000).map(|i| entry(&format!("{i:x}"), "U8", "0", 0, 0)).collect();
    let good = entry("a", "F32", "1", 0, 4);
    let mut s2 = |what: &str, header: &[u8]| attacks.push(attack("S2", what, whole(header, &[0; 4])));
    s2("not UTF-8", b"\xff");
    s2("half an object", b"{");
    s2("nested 100,000 deep", deep.as_bytes());
    s2("a list nested 100,000 deep", "[".repeat(100_000).as_bytes());
    s2("a tensor twice", format!("{{{good},{good}}}").as_bytes());
    s2("metadata with a number", format!("{{\"__metadata__\":{{\"a\":1}},{good}}}").as_bytes());
    s2("200,000 empty tensors", format!("{{{}}}", entries.join(",")).as_bytes());

    let ones = vec!["1"; 10_000].join(",");
    for (what, header, data) in [
        ("4 bytes for 2 x 2 I32", entry("a", "I32", "2,2", 0, 4), 4),
        ("offsets that run backwards", entry("a", "F32", "4", 16, 0), 16),
        ("a hole", format!("{},{}", entry("a", "F32", "1", 0, 4), entry("b", "F32", "4", 8, 24)), 24),
        ("an overlap", format!("{},{}", entry("a", "F32", "2", 0, 8), entry("b", "F32", "2", 4, 12)), 12),
        ("trailing bytes", entry("a", "F32", "1", 0, 4), 9),
        ("2 missing bytes", entry("a", "F32", "1", 0, 4), 2),
        ("a product beyond 64 bits", entry("a", "U8", "2,18446744073709551614", 0, 4), 4),
        ("a product of 2^64 - 2", entry("a", "U8", "2,9223372036854775807", 0, 4), 4),
        ("10,000 dimensions", entry("a", "U8", &ones, 0, 1), 1),
        ("an unknown type", entry("a", "F7", "1", 0, 4), 4),
        ("an odd number of half bytes", entry("a", "F4", "3", 0, 2), 2),
        ("a negative offset", r#""a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}"#.to_owned(), 4),
    ] {
        let bytes = whole(format!("{{{header}}}").as_bytes(), &vec![0; data]);
        attacks.push(attack("S3", what, bytes).but(Outcome::Refused));
    }

    // The ends of eight tensors add up to a little less than 2^64.
    const PART: u64 = 2_305_843_009_213_693_951;
    let parts: Vec<_> =
        (0..8).map(|i| entry(&format!("t{i}"), "U8", &PART.to_string(), i * PART, (i + 1) * PART)).collect();
    let bytes = whole(format!("{{{}}}", parts.join(",")).as_bytes(), &[0; 64]);
    attacks.push(attack("S4", "ends that add up to 2^64 - 8", bytes).but(Outcome::Refused));
    attacks
}
