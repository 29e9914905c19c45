//! Golden fixtures, and copies of them that a test may change.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

/// A file or folder below `tests/golden`.
pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

pub fn golden_json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(path)).unwrap()).unwrap()
}

/// A golden model's folder.
pub fn model_folder(name: &str) -> PathBuf {
    golden("models").join(name)
}

/// A folder that is gone when the test ends.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn empty() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("plimsoll-test-{}-{number}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// A copy of a golden model, without the logits that tests elsewhere compare with.
    pub fn model(name: &str) -> Scratch {
        let scratch = Scratch::empty();
        scratch.copy(name);
        scratch
    }

    /// Copies a golden model into the folder.
    pub fn copy(&self, name: &str) {
        for entry in fs::read_dir(model_folder(name)).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap();
            if file != "logits.safetensors" {
                fs::copy(&path, self.0.join(file)).unwrap();
            }
        }
    }

    /// A copy whose tokens all are printable ASCII: those that are not become words, so that text can be cut after any
    /// token.
    pub fn readable(name: &str) -> Scratch {
        let scratch = Scratch::model(name);
        scratch.edit("tokenizer.json", |tokenizer| {
            let model = &mut tokenizer["model"];
            // The byte-level alphabet spells space and line feed as letters with a dot.
            let plain = |token: &str| token.chars().all(|c| c.is_ascii_graphic() || matches!(c, 'Ġ' | 'Ċ'));
            let vocab = model["vocab"].as_object().unwrap().iter().map(|(token, id)| {
                let word = if plain(token) { token.clone() } else { format!("w{id}") };
                (word, id.clone())
            });
            let vocab = vocab.collect();
            let merges = model["merges"].as_array_mut().unwrap();
            merges.retain(|merge| match merge.as_str() {
                Some(pair) => pair.split(' ').all(plain),
                None => merge.as_array().unwrap().iter().all(|part| plain(part.as_str().unwrap())),
            });
            model["vocab"] = Value::Object(vocab);
        });
        scratch
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.file(name), bytes).unwrap();
        self.file(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    /// Changes a JSON file of the folder.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&self.read(name)).unwrap();
        change(&mut value);
        self.write(name, serde_json::to_vec(&value).unwrap());
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
