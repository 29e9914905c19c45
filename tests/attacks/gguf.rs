//! GGUF files: G1 to G15.

use crate::attack::{Attack, Outcome, file};
use crate::common::golden;
use crate::gguf_file::{Gguf, Key, Tensor, array, string, strings};
use plimsoll::ErrorCode::{ModelMalformed, ModelNotFound, ModelUnsupported};
use std::fs::File;

const NAME: &str = "attack.gguf";

/// A good file of Q8_0 weights.
fn good() -> Gguf {
    Gguf::read(&std::fs::read(golden("gguf/llama3-q8_0.gguf")).unwrap())
}

/// A good file with one change.
fn changed(change: impl Fn(&mut Gguf)) -> Vec<u8> {
    let mut gguf = good();
    change(&mut gguf);
    gguf.build()
}

/// Collects the cases of one family.
struct Family {
    id: &'static str,
    attacks: Vec<Attack>,
}

impl Family {
    fn new(id: &'static str) -> Family {
        Family { id, attacks: Vec::new() }
    }

    fn bytes(&mut self, what: impl Into<String>, bytes: Vec<u8>) -> &mut Attack {
        self.attacks.push(Attack::load(self.id, what, ModelMalformed, file(NAME, bytes)));
        self.attacks.last_mut().unwrap()
    }

    fn case(&mut self, what: impl Into<String>, change: impl Fn(&mut Gguf)) -> &mut Attack {
        self.bytes(what, changed(change))
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    [
        truncated(),
        versions(),
        counts(),
        keys(),
        values(),
        nested(),
        arrays(),
        alignment(),
        dimensions(),
        types(),
        ranges(),
        names(),
        meanings(),
        vocabularies(),
        splits(),
    ]
    .into_iter()
    .flat_map(|family| family.attacks)
    .collect()
}

fn truncated() -> Family {
    let mut family = Family::new("G1");
    let whole = good().build();
    let header = good().header().len();
    for len in (1..64).chain((64..header).step_by(97)).chain([header, header + 40, whole.len() - 1]) {
        let bytes = whole[..len].to_vec();
        let attack = family.bytes(format!("the first {len} bytes"), bytes);
        if len < 4 {
            // Too short to say what it is.
            attack.outcome = Outcome::Refused;
        }
    }
    family
}

fn versions() -> Family {
    let mut family = Family::new("G2");
    for version in [0, 1, 4, 0x0300_0000] {
        let attack = family.case(format!("version {version:#x}"), |file| file.version = version);
        attack.outcome = Outcome::Fails(ModelUnsupported);
    }
    let lengths = [0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let v1 = [&b"GGUF\x01\0\0\0"[..], &lengths].concat();
    family.bytes("version 1, a key of 2^32 - 1 bytes", v1).outcome = Outcome::Refused;
    family
}

fn counts() -> Family {
    let mut family = Family::new("G3");
    for count in [u64::MAX, 1 << 63, 500_000_000, 70_000] {
        family.case(format!("{count} tensors"), |file| file.counts.0 = Some(count));
        family.case(format!("{count} keys"), |file| file.counts.1 = Some(count));
        let alone = |tensors: u64, keys: u64| {
            [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
        };
        family.bytes(format!("24 bytes, {count} keys"), alone(0, count));
        family.bytes(format!("24 bytes, {count} tensors"), alone(count, 0));
    }
    family
}

fn keys() -> Family {
    let mut family = Family::new("G4");
    let first = 24;
    let left = good().build().len() as u64 - first as u64 - 8;
    for length in [u64::MAX, 1 << 63, left + 1] {
        let mut bytes = good().build();
        bytes[first..first + 8].copy_from_slice(&length.to_le_bytes());
        family.bytes(format!("a key of {length} bytes"), bytes);
    }
    for name in [&b""[..], b"\xff\xfe", b"a\0b", b"\x1b[2J\x1b]0;title\x07"] {
        let key = Key { name: name.to_vec(), kind: 4, value: vec![0; 4] };
        family.case(format!("key {:?}", name.escape_ascii().to_string()), |file| {
            file.keys.push(key.clone());
        });
    }
    family.case("a key twice", |file| file.keys.push(file.keys[0].clone()));
    family
}

fn values() -> Family {
    let mut family = Family::new("G5");
    family.case("type 13", |file| file.set("x", 13, &[0; 8]));
    family.case("type 2^32 - 1", |file| file.set("x", u32::MAX, &[0; 8]));
    family.case("bool of value 2", |file| file.set("x", 7, &[2]));
    let mut end = good();
    end.tensors.clear();
    end.data.clear();
    for (what, length) in [("one more than is left", 11_u64), ("1 GiB", 1 << 30), ("2^64 - 1", u64::MAX)] {
        let mut file = end.clone();
        file.set("x.comment", 8, &[&length.to_le_bytes()[..], &[b'x'; 10]].concat());
        family.bytes(format!("a string of {what} bytes"), file.header());
    }
    family
}

fn arrays() -> Family {
    let mut family = Family::new("G7");
    for (element, count) in [(0, 1 << 63), (12, 1 << 61), (8, 1 << 61), (8, u64::MAX / 64), (4, u64::MAX)] {
        for name in ["x.numbers", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"] {
            family.case(format!("{name}: {count} values of type {element}"), |file| {
                file.set(name, 9, &array(element, count, &[0; 16]));
            });
        }
    }
    family
}

fn nested() -> Family {
    let mut family = Family::new("G6");
    let level = array(9, 1, b"");
    family.case("an array nested 100,000 deep", |file| file.set("x", 9, &level.repeat(100_000))).outcome =
        Outcome::Fails(ModelUnsupported);
    family
}

fn alignment() -> Family {
    let mut family = Family::new("G8");
    const KEY: &str = "general.alignment";
    for value in [0, 13, 1 << 31] {
        family.case(format!("alignment {value}"), |file| file.number(KEY, value));
    }
    family.case("alignment as i32", |file| file.set(KEY, 5, &(-32_i32).to_le_bytes()));
    family.case("alignment as string", |file| file.set(KEY, 8, &string(b"32")));
    family.case("alignment twice", |file| {
        file.number(KEY, 32);
        file.keys.push(Key { name: KEY.into(), kind: 4, value: vec![64, 0, 0, 0] });
    });
    family
}

fn dimensions() -> Family {
    let mut family = Family::new("G9");
    let many = vec![1; 10_000];
    for dims in [
        &[][..],
        &[1, 1, 1, 1, 64],
        &many,
        &[u64::MAX, u64::MAX],
        &[1 << 32, 1 << 32],
        &[1 << 40, 1 << 40],
        &[1 << 62],
        &[1152, (1 << 42) + 1],
        &[0, 64],
    ] {
        let shown: Vec<_> = dims.iter().take(5).collect();
        family.case(format!("{} dims {shown:?}", dims.len()), |file| {
            file.tensor("blk.0.attn_q.weight").dims = dims.to_vec();
        });
    }
    for (kind, what) in [(8, "Q8_0"), (12, "Q4_K"), (39, "MXFP4")] {
        family.case(format!("a row of 255 in {what}"), |file| {
            let tensor = file.tensor("blk.0.attn_q.weight");
            (tensor.dims, tensor.kind) = (vec![255, 4], kind);
        });
    }
    family
}

fn types() -> Family {
    let mut family = Family::new("G10");
    for kind in [u32::MAX, 0x7fff_ffff, 64, 42, 4, 5, 31, 36] {
        let attack =
            family.case(format!("tensor type {kind}"), |file| file.tensor("blk.0.attn_q.weight").kind = kind);
        attack.outcome = Outcome::Refused;
    }
    family
}

fn ranges() -> Family {
    let mut family = Family::new("G11");
    const TENSOR: &str = "blk.0.attn_q.weight";
    for offset in [u64::MAX, u64::MAX - 31, 1 << 63] {
        family.case(format!("offset {offset}"), |file| file.tensor(TENSOR).offset = offset);
    }
    family.case("an offset that is not aligned", |file| file.tensor(TENSOR).offset += 1);
    family.case("two tensors at one place", |file| {
        let other = file.tensors.iter().find(|tensor| tensor.name != TENSOR.as_bytes()).unwrap().offset;
        file.tensor(TENSOR).offset = other;
    });
    family.case("a tensor that ends one byte after the file", |file| file.data.truncate(file.data.len() - 1));
    family
        .case("two tensors whose sizes add up to nothing", |file| {
            let huge = |name: &str| Tensor {
                name: name.into(),
                dims: vec![0x7fff_ffff_ffff_ffc0],
                kind: 24,
                offset: 0,
            };
            file.tensors = vec![huge("a"), huge("b")];
            file.data = vec![0; 32];
        })
        .outcome = Outcome::Refused;
    family
}

fn names() -> Family {
    let mut family = Family::new("G12");
    for name in
        [&b""[..], b"../x", b"blk.0.attn_q.weight\0", &[b'n'; 65], &[b'n'; 70_000], b"\xff", b"\x1b[2J"]
    {
        let shown = name[..name.len().min(24)].escape_ascii().to_string();
        family.case(format!("tensor {shown:?} of {} bytes", name.len()), |file| {
            file.tensor("blk.0.attn_q.weight").name = name.to_vec();
        });
    }
    family.case("two tensors of one name", |file| {
        file.tensor("blk.0.attn_k.weight").name = b"blk.0.attn_v.weight".to_vec();
    });
    family
}

fn meanings() -> Family {
    let mut family = Family::new("G13");
    let wrong = [
        (6, 2.0_f32.to_le_bytes().to_vec()),
        (8, string(b"2")),
        (9, array(4, 1, &[2, 0, 0, 0])),
        (7, vec![1]),
    ];
    for name in [
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.rope.dimension_count",
        "llama.attention.key_length",
        "llama.attention.sliding_window",
        "llama.expert_count",
        "llama.expert_used_count",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
        "general.alignment",
    ] {
        for (kind, value) in &wrong {
            family.case(format!("{name} of type {kind}"), |file| file.set(name, *kind, value)).outcome =
                Outcome::Refused;
        }
    }
    for (name, value) in [
        ("llama.block_count", 0),
        ("llama.block_count", 513),
        ("llama.block_count", u32::MAX),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count", 3),
        ("llama.attention.head_count_kv", 0),
        ("llama.attention.head_count_kv", 1000),
        ("llama.attention.key_length", 512),
        ("llama.attention.key_length", u32::MAX),
        ("llama.rope.dimension_count", 512),
        ("llama.rope.dimension_count", 3),
        ("llama.embedding_length", 65),
        ("llama.embedding_length", u32::MAX),
        ("llama.feed_forward_length", u32::MAX),
        ("llama.vocab_size", 7),
        ("llama.context_length", 1 << 31),
        ("llama.context_length", 0),
        ("tokenizer.ggml.bos_token_id", 1 << 20),
        ("tokenizer.ggml.eos_token_id", u32::MAX),
    ] {
        family.case(format!("{name} = {value}"), |file| file.number(name, value)).outcome = Outcome::Refused;
    }
    family
        .case("more experts used than there are", |file| {
            file.number("llama.expert_count", 4);
            file.number("llama.expert_used_count", 5);
        })
        .outcome = Outcome::Refused;
    for eps in [f32::NAN, f32::INFINITY, -1.0, 0.0] {
        family.case(format!("epsilon {eps}"), |file| {
            file.set("llama.attention.layer_norm_rms_epsilon", 6, &eps.to_le_bytes());
        });
    }
    for name in ["general.architecture", "llama.block_count", "tokenizer.ggml.tokens"] {
        family.case(format!("no {name}"), |file| file.remove(name)).outcome = Outcome::Refused;
    }
    family.case("a tensor of another shape", |file| file.tensor("blk.0.attn_q.weight").dims.reverse()).outcome =
        // A square matrix is the same both ways.
        match good().tensor("blk.0.attn_q.weight").dims.clone() {
            dims if dims[0] == dims[1] => Outcome::Harmless,
            _ => Outcome::Fails(ModelMalformed),
        };
    family
}

fn vocabularies() -> Family {
    let mut family = Family::new("G14");
    const TOKENS: &str = "tokenizer.ggml.tokens";
    const MERGES: &str = "tokenizer.ggml.merges";
    let spoil = |at: usize, token: &str| {
        let mut words = good().words(TOKENS);
        words[at] = token.into();
        words
    };
    let tokenizer = Outcome::Refused;
    let twice = good().words(TOKENS)[6].clone();
    family
        .case("two equal tokens", |file| {
            file.set(TOKENS, 9, &strings(&spoil(5, std::str::from_utf8(&twice).unwrap())));
        })
        .outcome = tokenizer;
    for token in ["<0x-1>", "<0xZZ>", "<0x100>"] {
        family
            .case(format!("byte token {token}"), |file| {
                file.set("tokenizer.ggml.model", 8, &string(b"llama"));
                let words = spoil(5, token);
                file.set(TOKENS, 9, &strings(&words));
                file.set(
                    "tokenizer.ggml.scores",
                    9,
                    &array(6, words.len() as u64, &vec![0; 4 * words.len()]),
                );
                let mut types = vec![1_i32; words.len()];
                types[5] = 6;
                let types: Vec<u8> = types.iter().flat_map(|kind| kind.to_le_bytes()).collect();
                file.set("tokenizer.ggml.token_type", 9, &array(5, words.len() as u64, &types));
            })
            .outcome = tokenizer;
    }
    for (what, merges) in [
        ("a merge of unknown tokens", &["no such"][..]),
        ("a merge of one part", &["a"]),
        ("an empty merge", &[""]),
        ("a merge of three parts", &["a b c"]),
    ] {
        family.case(what, |file| file.set(MERGES, 9, &strings(merges))).outcome = tokenizer;
    }
    family
        .case("scores of another number", |file| {
            file.set("tokenizer.ggml.model", 8, &string(b"llama"));
            file.set("tokenizer.ggml.scores", 9, &array(6, 3, &[0; 12]));
        })
        .outcome = tokenizer;
    family
        .case("scores of bytes", |file| {
            let count = file.words(TOKENS).len();
            file.set("tokenizer.ggml.model", 8, &string(b"llama"));
            file.set("tokenizer.ggml.scores", 9, &array(0, count as u64, &vec![0; count]));
        })
        .outcome = tokenizer;
    family
        .case("token types of bytes", |file| {
            let count = file.words(TOKENS).len();
            file.set("tokenizer.ggml.token_type", 9, &array(0, count as u64, &vec![1; count]));
        })
        .outcome = tokenizer;
    family
        .case("a tokenizer of no known kind", |file| file.set("tokenizer.ggml.model", 8, &string(b"abacus")))
        .outcome = Outcome::Refused;
    // The file is long and has no bytes on the disk.
    family.attacks.push(Attack::load("G14", "a token of 2^31 + 1 bytes", ModelMalformed, |scratch| {
        let mut head = good();
        head.tensors.clear();
        head.remove(TOKENS);
        let mut bytes = head.header();
        let keys = head.keys.len() as u64 + 1;
        bytes[16..24].copy_from_slice(&keys.to_le_bytes());
        bytes.extend(string(TOKENS.as_bytes()));
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(array(8, 1, &((1_u64 << 31) + 1).to_le_bytes()));
        let path = scratch.write(NAME, &bytes);
        File::options().write(true).open(&path).unwrap().set_len((1 << 31) + 100_000).unwrap();
        path
    }));
    family
}

fn splits() -> Family {
    let mut family = Family::new("G15");
    let u16_key = |file: &mut Gguf, name: &str, value: u16| file.set(name, 2, &value.to_le_bytes());
    for (no, count) in [(0, 65_535), (5, 2), (65_535, 2), (1, 2)] {
        let bytes = changed(|file| {
            u16_key(file, "split.no", no);
            u16_key(file, "split.count", count);
            file.set("split.tensors.count", 5, &1_i32.to_le_bytes());
        });
        for name in ["attack.gguf", "attack-00001-of-00002.gguf", "attack-00002-of-00002.gguf"] {
            let what = format!("part {no} of {count} as {name}");
            let attack = Attack::load("G15", what, ModelNotFound, file(name, bytes.clone()));
            family.attacks.push(attack.but(Outcome::Refused));
        }
    }
    family
}
