//! A GGUF file taken apart, so that an attack changes one thing of a good one.

/// One key with its value as it stands in the file.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u32,
    pub(crate) value: Vec<u8>,
}

/// One tensor's description.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) offset: u64,
}

/// A whole file. `counts` are written instead of the true ones where they are given.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) version: u32,
    pub(crate) counts: (Option<u64>, Option<u64>),
    pub(crate) keys: Vec<Key>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) data: Vec<u8>,
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(len);
        self.0 = later;
        now.to_vec()
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> Vec<u8> {
        let len = self.u64() as usize;
        self.take(len)
    }

    /// The bytes of a value of this type.
    fn value(&mut self, kind: u32) -> Vec<u8> {
        match kind {
            0 | 1 | 7 => self.take(1),
            2 | 3 => self.take(2),
            4..=6 => self.take(4),
            10..=12 => self.take(8),
            8 => string(&self.text()),
            9 => {
                let (element, count) = (self.u32(), self.u64());
                let items = (0..count).flat_map(|_| self.value(element)).collect::<Vec<u8>>();
                array(element, count, &items)
            }
            other => panic!("a golden file has no value of type {other}"),
        }
    }
}

/// A string as it stands in a file: its length, then its bytes.
pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

/// An array as it stands in a file, with whatever count.
pub(crate) fn array(element: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
}

/// An array of strings.
pub(crate) fn strings<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let bytes: Vec<u8> = items.iter().flat_map(|item| string(item.as_ref())).collect();
    array(8, items.len() as u64, &bytes)
}

const ALIGNMENT: usize = 32;

impl Gguf {
    /// Takes a good file of the default alignment apart.
    pub(crate) fn read(bytes: &[u8]) -> Gguf {
        let mut reader = Reader(bytes);
        assert_eq!(reader.take(4), b"GGUF");
        let version = reader.u32();
        let (tensors, keys) = (reader.u64(), reader.u64());
        let keys = (0..keys).map(|_| {
            let (name, kind) = (reader.text(), reader.u32());
            Key { name, kind, value: reader.value(kind) }
        });
        let keys = keys.collect();
        let tensors = (0..tensors).map(|_| {
            let name = reader.text();
            let dims = (0..reader.u32()).map(|_| reader.u64()).collect();
            Tensor { name, dims, kind: reader.u32(), offset: reader.u64() }
        });
        let tensors = tensors.collect();
        let header = bytes.len() - reader.0.len();
        let data = bytes[header.next_multiple_of(ALIGNMENT)..].to_vec();
        Gguf { version, counts: (None, None), keys, tensors, data }
    }

    /// The file's bytes up to its tensors' data, padding left out.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.counts.0.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.counts.1.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for key in &self.keys {
            out.extend(string(&key.name));
            out.extend(key.kind.to_le_bytes());
            out.extend(&key.value);
        }
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out
    }

    /// The whole file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut out = self.header();
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend(&self.data);
        out
    }

    /// Sets a key, in its place or at the end.
    pub(crate) fn set(&mut self, name: &str, kind: u32, value: &[u8]) {
        let key = Key { name: name.into(), kind, value: value.to_vec() };
        match self.keys.iter_mut().find(|known| known.name == name.as_bytes()) {
            Some(known) => *known = key,
            None => self.keys.push(key),
        }
    }

    /// Sets a key to a u32.
    pub(crate) fn number(&mut self, name: &str, value: u32) {
        self.set(name, 4, &value.to_le_bytes());
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, name: &str) {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name.as_bytes());
        assert!(self.keys.len() < before, "{name} was not there");
    }

    /// The strings of a key.
    pub(crate) fn words(&self, name: &str) -> Vec<Vec<u8>> {
        let key = self.keys.iter().find(|key| key.name == name.as_bytes()).unwrap();
        let mut reader = Reader(&key.value);
        assert_eq!(reader.u32(), 8);
        (0..reader.u64()).map(|_| reader.text()).collect()
    }

    /// A tensor by its name.
    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes()).unwrap()
    }
}
