//! Hostile files never cost more heap than 16 times their size plus 1 MiB, and never much time.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use plimsoll_formats::{FormatError, config, gguf, hf, safetensors};

thread_local! {
    /// Bytes this thread holds, and the most it held since the last reset.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(change: isize) {
    // A thread that is ending has no counter any more, and none of the tests measure one.
    let _ = HELD.try_with(|held| {
        let now = held.get().0 + change;
        held.set((now, now.max(held.get().1)));
    });
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise about `layout` is the one the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `at` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
    // `realloc` keeps its default: a new block beside the old one, which is the worst case.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads hostile bytes and checks the bounds; the answer itself is the caller's to judge.
fn bounded<T>(what: &str, bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, FormatError>) -> bool {
    let before = HELD.get().0;
    HELD.set((before, before));
    // Shows that the counter counts.
    drop(std::hint::black_box(vec![0_u8; 1]));
    let start = Instant::now();
    let answer = read(bytes);
    let (took, peak) = (start.elapsed(), HELD.get().1 - before);
    let limit = 16 * bytes.len() as isize + (1 << 20);
    assert!(peak > 0, "{what}: nothing was counted");
    assert!(peak <= limit, "{what}: {peak} bytes of heap for {} of input", bytes.len());
    // Far above what any of them takes, because the machine may be busy; a quadratic reader would still fail.
    assert!(took < Duration::from_secs(10), "{what}: {took:?}");
    answer.is_ok()
}

fn gguf_file(tensors: u64, keys: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &keys.to_le_bytes(), rest].concat()
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

fn array(element: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
}

fn read_gguf(bytes: &[u8]) -> Result<gguf::GgufFile, FormatError> {
    gguf::parse(&bytes, "t.gguf")
}

fn read_header(bytes: &[u8]) -> Result<Vec<plimsoll_formats::TensorInfo>, FormatError> {
    safetensors::parse_header(&bytes, "t.safetensors")
}

#[test]
fn gguf_headers() {
    for count in [500_000_000, u64::MAX, 1 << 61] {
        bounded("tensor count", &gguf_file(count, 0, b""), read_gguf);
        bounded("key count", &gguf_file(0, count, b""), read_gguf);
        for element in [0, 5, 8, 12] {
            let one = key("tokenizer.ggml.tokens", 9, &array(element, count, &[0; 10]));
            bounded("array count", &gguf_file(0, 1, &one), read_gguf);
        }
    }
    let level = array(9, 1, b"");
    bounded("nested arrays", &gguf_file(0, 1, &key("k", 9, &level.repeat(100_000))), read_gguf);
}

#[test]
fn gguf_with_the_smallest_records() {
    let many = 1_u64 << 14;
    let keys: Vec<u8> = (0..many).flat_map(|i| key(&format!("{i:x}"), 0, &[1])).collect();
    bounded("keys", &gguf_file(0, many, &keys), read_gguf);

    let architecture = key("general.architecture", 8, &text("llama"));
    let tensors: Vec<u8> = (0..many)
        .flat_map(|i| {
            let numbers = [&1_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &0_u32.to_le_bytes()].concat();
            [&text(&format!("{i:x}"))[..], &numbers, &(i * 8).to_le_bytes()].concat()
        })
        .collect();
    let alignment = key("general.alignment", 4, &8_u32.to_le_bytes());
    let head = [architecture.clone(), alignment, tensors].concat();
    let mut file = gguf_file(many, 2, &head);
    file.resize(file.len() + 8 * many as usize, 0);
    bounded("tensors", &file, read_gguf);
}

#[test]
fn gguf_in_parts() {
    let folder = std::env::temp_dir().join(format!("plimsoll-heap-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |part: u64, count: u64| folder.join(format!("m-{part:05}-of-{count:05}.gguf"));
    let number = |name: &str, value: u64| key(name, 10, &value.to_le_bytes());
    for (count, each) in [(2, 1_u64 << 13), (64, 128), (4096, 0), (65_535, 0), (u64::MAX, 0)] {
        let (mut input, written) = (Vec::new(), count.min(64));
        for part in 1..=written {
            let tensors: Vec<u8> = (0..each)
                .flat_map(|i| {
                    let numbers = [&1_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &0_u32.to_le_bytes()];
                    let name = text(&format!("{part:x}.{i:x}"));
                    [&name[..], &numbers.concat(), &(i * 8).to_le_bytes()].concat()
                })
                .collect();
            let keys = [
                key("general.architecture", 8, &text("llama")),
                key("general.alignment", 4, &8_u32.to_le_bytes()),
                number("split.no", part - 1),
                number("split.count", count),
                number("split.tensors.count", each * written),
            ];
            let mut file = gguf_file(each, keys.len() as u64, &[keys.concat(), tensors].concat());
            file.resize(file.len() + 8 * each as usize + 8, 0);
            std::fs::write(path(part, count), &file).unwrap();
            input.extend(file);
        }
        let opened = bounded("parts", &input, |_| plimsoll_formats::open(&path(1, count)));
        assert!(!opened, "a model without keys");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn gguf_with_long_tables() {
    let count = 200_000_u64;
    let architecture = key("general.architecture", 8, &text("llama"));
    let model = key("tokenizer.ggml.model", 8, &text("gpt2"));
    let distinct: Vec<u8> = (0..count).flat_map(|i| text(&format!("{i:x}"))).collect();
    let empty = text("").repeat(count as usize);
    let types = array(5, count, &1_i32.to_le_bytes().repeat(count as usize));
    for (what, tokens, merges) in
        [("distinct tokens", &distinct, &distinct), ("empty tokens", &empty, &empty)]
    {
        let keys = [
            architecture.clone(),
            model.clone(),
            key("tokenizer.ggml.tokens", 9, &array(8, count, tokens)),
            key("tokenizer.ggml.merges", 9, &array(8, count, merges)),
            key("tokenizer.ggml.token_type", 9, &types),
        ];
        bounded(what, &gguf_file(0, 5, &keys.concat()), read_gguf);
    }
}

/// A sound model whose stacks hold as many experts as there may be, each as small as it may be.
fn stacks(layers: u32, experts: u32) -> Vec<u8> {
    let size = |name: &str, value: u32| key(&format!("llama.{name}"), 4, &value.to_le_bytes());
    let keys = [
        key("general.architecture", 8, &text("llama")),
        key("general.alignment", 4, &8_u32.to_le_bytes()),
        size("block_count", layers),
        size("embedding_length", 32),
        size("feed_forward_length", 2),
        size("attention.head_count", 1),
        size("context_length", 64),
        size("expert_count", experts),
        size("expert_used_count", 1),
        key("llama.attention.layer_norm_rms_epsilon", 6, &1e-5_f32.to_le_bytes()),
        key("tokenizer.ggml.model", 8, &text("gpt2")),
        key("tokenizer.ggml.tokens", 9, &array(8, 1, &text("a"))),
        key("tokenizer.ggml.merges", 9, &array(8, 0, b"")),
        key("tokenizer.ggml.token_type", 9, &array(5, 1, &1_i32.to_le_bytes())),
    ];
    // Q4_0, whose blocks of 32 numbers take 18 bytes, and F16.
    let parts = [("gate", 2, [32, 2], 36), ("up", 2, [32, 2], 36), ("down", 1, [2, 32], 128)];
    let (mut tensors, mut offset) = (Vec::new(), 0_u64);
    for layer in 0..layers {
        for (part, kind, [columns, rows], bytes) in parts {
            tensors.extend(text(&format!("blk.{layer}.ffn_{part}_exps.weight")));
            tensors.extend(3_u32.to_le_bytes());
            tensors.extend([columns, rows, u64::from(experts)].map(u64::to_le_bytes).concat());
            tensors.extend(u32::to_le_bytes(kind));
            tensors.extend(offset.to_le_bytes());
            offset += bytes * u64::from(experts);
        }
    }
    let mut file = gguf_file(3 * u64::from(layers), keys.len() as u64, &[keys.concat(), tensors].concat());
    file.resize(file.len().next_multiple_of(8) + offset as usize, 0);
    file
}

#[test]
fn gguf_with_stacks_of_tiny_experts() {
    assert!(bounded("stacks", &stacks(64, 1024), read_gguf));
    for (layers, experts) in [(64, 1032), (65, 1024), (512, 1024), (512, 1_000_000), (2, u32::MAX)] {
        // The promise alone: the tensors are cut off.
        let mut file = stacks(1, 1024);
        for (name, value) in [("block_count", layers), ("expert_count", experts)] {
            let at = key(&format!("llama.{name}"), 4, b"");
            let start = file.windows(at.len()).position(|bytes| bytes == at).unwrap() + at.len();
            file[start..start + 4].copy_from_slice(&value.to_le_bytes());
        }
        assert!(!bounded("promised experts", &file, read_gguf), "{layers} layers of {experts} experts");
    }
}

#[test]
fn safetensors_headers() {
    let file = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    for len in [100_000_000, 100_000_001, u64::MAX] {
        bounded("length", &[&len.to_le_bytes()[..], b"{}"].concat(), read_header);
    }
    let entries: Vec<_> = (0..1 << 14)
        .map(|i| format!("\"{i:x}\":{{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[0,0]}}"))
        .collect();
    assert!(bounded("entries", &file(&format!("{{{}}}", entries.join(","))), read_header));
    let zeros = "0,".repeat(500_000);
    for header in [
        format!("{{\"t\":{{\"shape\":[{zeros}0]}}}}"),
        format!("{{\"t\":{{\"other\":[{zeros}0]}}}}"),
        format!("{{\"t\":{{\"dtype\":\"{zeros}\"}}}}"),
        format!("{{\"__metadata__\":{{{}\"x\":\"\"}}}}", "\"\":\"\",".repeat(100_000)),
        format!("{{\"{zeros}\":0}}"),
        "[".repeat(100_000),
        format!("{{{}", "\"t\":{".repeat(100_000)),
    ] {
        bounded(&header[..header.len().min(24)], &file(&header), read_header);
    }
}

#[test]
fn json_files() {
    let zeros = "0,".repeat(150_000);
    let objects = "{\"name\":0},".repeat(40_000);
    let texts = "\"\",".repeat(100_000);
    let mut hostile = vec![
        "[".repeat(1_000_000),
        "{\"a\":".repeat(200_000),
        format!("{{\"x\":{}", "[".repeat(1_000_000)),
        format!("{{\"weight_map\":{}", "{\"a\":".repeat(200_000)),
    ];
    let wanted = [
        "eos_token_id",
        "layer_types",
        "mlp_only_layers",
        "rope_scaling",
        "rope_parameters",
        "short_factor",
        "text_config",
        "chat_template",
        "bos_token",
        "weight_map",
        "other",
    ];
    for key in wanted {
        for items in [&zeros, &objects, &texts] {
            hostile.push(format!("{{\"{key}\":[{items}0]}}"));
            hostile.push(format!("{{\"{key}\":[[{items}0],[{items}0]]}}"));
        }
        hostile.push(format!("{{\"{key}\":\"{zeros}\"}}"));
        hostile.push(format!("{{{}\"z\":0}}", format!("\"{key}\":0,").repeat(50_000)));
        hostile.push(format!("{{\"{key}\":{{{}\"z\":0}}}}", "\"name\":0,".repeat(50_000)));
        // Lists of small objects, inside each other and inside objects.
        let small = format!("[{}{{}}]", "{\"type\":0},".repeat(1000));
        let lists = format!("[{}{{}}]", format!("{{\"type\":{small}}},").repeat(150));
        hostile.push(format!("{{\"{key}\":{lists}}}"));
        hostile.push(format!("{{\"text_config\":{{\"{key}\":{lists}}}}}"));
    }
    let entries: Vec<_> = (0..1 << 14).map(|i| format!("\"{i:x}\":\"a.safetensors\"")).collect();
    hostile.push(format!("{{\"weight_map\":{{{}}}}}", entries.join(",")));
    let shards: Vec<_> = (0..1 << 14).map(|i| format!("\"{i:x}\":\"{i:x}.safetensors\"")).collect();
    hostile.push(format!("{{\"weight_map\":{{{}}}}}", shards.join(",")));
    for text in &hostile {
        let (what, bytes) = (&text[..text.len().min(32)], text.as_bytes());
        bounded(what, bytes, config::parse);
        bounded(what, bytes, hf::generation::parse);
        bounded(what, bytes, hf::tokenizer_config::parse);
        bounded(what, bytes, hf::index::parse);
    }
}
