//! What one rendering may still make and do. Each value and each byte written is charged before or when it is made. Large
//! strings and lists come back to the budget when they are gone: a template that builds one text by adding to it, message
//! by message, holds one text and not all that came before.

use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::functions::Namespace;

/// The name of the budget among a rendering's variables. No template can name it: no identifier has a space.
pub(super) const NAME: &str = " budget";

/// Deepest nesting of lists and dicts. Values are dropped, printed and compared by recursion.
const MAX_DEPTH: usize = 64;

/// Bytes that a string, an item of a list and an entry of a dict take beside their contents.
const OVERHEAD: usize = 48;
const ITEM: usize = 24;
const ENTRY: usize = 96;

/// Longest string without a block of its own on the heap.
const INLINE: usize = 22;

/// From so many bytes on, strings and lists are paid for only as long as they live.
const LARGE: usize = 512;

/// What a byte that is written to a growing string costs: the string doubles, and the old one lives until it is copied.
const WRITTEN: usize = 3;

/// Work of visiting a value, where scanning a byte is 1.
pub(super) const VISIT: usize = 16;

/// Why a rendering was stopped by this library rather than by an error of the template.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// `raise_exception`.
    Raised(String),
    /// A limit, by name.
    Limit(&'static str),
}

/// The budget of one rendering. It lives among the variables of the rendering, so that everything finds it.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: AtomicU64,
    work: AtomicU64,
    copies: AtomicU64,
    /// Large values, whose bytes come back when they are gone.
    held: Mutex<Vec<Held>>,
    fault: Mutex<Option<Fault>>,
}

/// What a rendering may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes that it may hold: large strings and lists while they live, everything else to the end.
    pub(super) bytes: u64,
    /// Bytes that it may look at.
    pub(super) work: u64,
    /// Bytes of strings and lists that it may make, whether they live or not.
    pub(super) copies: u64,
}

/// A value that was paid for. As long as it is listed, its block stays allocated.
#[derive(Debug)]
enum Held {
    Text(Weak<str>, usize),
    List(Weak<Vec<Value>>, usize),
}

impl Held {
    /// The bytes that come back when the value is gone.
    fn returns(&self) -> Option<u64> {
        let (alive, bytes) = match self {
            Held::Text(text, bytes) => (text.strong_count(), *bytes),
            Held::List(list, bytes) => (list.strong_count(), *bytes),
        };
        (alive == 0).then_some(bytes as u64)
    }
}

impl Object for Budget {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// An error of the template.
pub(super) fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Budget {
            bytes: limits.bytes.into(),
            work: limits.work.into(),
            copies: limits.copies.into(),
            held: Mutex::default(),
            fault: Mutex::new(None),
        })
    }

    /// The budget of a rendering.
    pub(super) fn of(state: &State) -> Result<Arc<Self>, Error> {
        let found = state.lookup(NAME).and_then(|value| value.downcast_object::<Budget>());
        found.ok_or_else(|| refused("no budget"))
    }

    /// Why the rendering stopped, if it was not an error of the template.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn fail(&self, fault: Fault) -> Error {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        refused("limit")
    }

    fn take(&self, from: &AtomicU64, amount: usize, limit: &'static str) -> Result<(), Error> {
        let taken =
            from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount as u64));
        taken.map(|_| ()).map_err(|_| self.fail(Fault::Limit(limit)))
    }

    /// Pays for bytes that are made now.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        self.fits(bytes)?;
        self.take(&self.bytes, bytes, "memory")
    }

    /// Takes back what was paid for bytes that are gone.
    fn refund(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Pays for work: bytes scanned, and [`VISIT`] for each value visited.
    pub(super) fn work(&self, units: usize) -> Result<(), Error> {
        self.take(&self.work, units, "work")
    }

    /// That so many bytes can be made before they are charged.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), Error> {
        let short = || bytes as u64 > self.bytes.load(Ordering::Relaxed);
        if short() {
            self.sweep()?;
        }
        if short() { Err(self.fail(Fault::Limit("memory"))) } else { Ok(()) }
    }

    /// Frees the blocks of large values that are gone. Looking for them is work, so that a rendering at its limit ends.
    fn sweep(&self) -> Result<(), Error> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.work(held.len() * VISIT)?;
        held.retain(|value| match value.returns() {
            Some(bytes) => {
                self.refund(bytes);
                false
            }
            None => true,
        });
        Ok(())
    }

    /// Pays for a value of so many bytes until it is gone.
    fn hold(&self, bytes: usize, value: impl FnOnce(usize) -> Held) -> Result<(), Error> {
        self.take(&self.copies, bytes, "work")?;
        let bytes = bytes + ENTRY;
        self.charge(bytes)?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(value(bytes));
        Ok(())
    }

    /// Pays for a string that was just made.
    fn hold_text(&self, value: &Value) -> Result<(), Error> {
        match value.as_str().map_or(0, str::len) {
            0..=INLINE => Ok(()),
            // A string is built and then copied into its shared form.
            len @ ..LARGE => self.charge(len * 2 + OVERHEAD),
            len => match value.to_str() {
                Some(text) => self.hold(len, |bytes| Held::Text(Arc::downgrade(&text), bytes)),
                None => self.charge(len * 2 + OVERHEAD),
            },
        }
    }

    /// Pays for a new value. What is lazy becomes a list: lazy values nest without bound and are computed again and
    /// again.
    pub(super) fn made(&self, value: Value) -> Result<Value, Error> {
        match value.kind() {
            ValueKind::String => self.hold_text(&value)?,
            ValueKind::Map => self.charge(value.len().unwrap_or(0) * ENTRY + OVERHEAD)?,
            ValueKind::Seq => self.charge(value.len().unwrap_or(0) * ITEM + OVERHEAD)?,
            ValueKind::Iterable => return self.list(value.try_iter()?.map(valid)),
            _ => {}
        }
        Ok(value)
    }

    /// A list, of which each item is paid for before it is asked for.
    pub(super) fn list(&self, from: impl Iterator<Item = Result<Value, Error>>) -> Result<Value, Error> {
        self.charge(OVERHEAD)?;
        let mut items = Vec::new();
        for item in from {
            // The vector doubles: the old one, the new one.
            self.charge(3 * ITEM)?;
            items.push(item?);
        }
        let len = items.len();
        if len * ITEM < LARGE {
            return Ok(Value::from(items));
        }
        items.shrink_to_fit();
        let items = Arc::new(items);
        self.refund((len * 3 * ITEM) as u64);
        self.hold(len * ITEM, |bytes| Held::List(Arc::downgrade(&items), bytes))?;
        Ok(Value::from_dyn_object(items))
    }

    /// A string from what `write` writes.
    pub(super) fn text(&self, write: impl FnOnce(&mut Writer) -> Result<(), Error>) -> Result<Value, Error> {
        let mut text = String::new();
        write(&mut Writer { budget: self, out: &mut text })?;
        self.written(Value::from(text))
    }

    /// A string whose bytes a [`Writer`] has paid for.
    pub(super) fn written(&self, value: Value) -> Result<Value, Error> {
        self.refund(value.as_str().map_or(0, str::len) as u64 * WRITTEN as u64);
        self.hold_text(&value)?;
        Ok(value)
    }

    /// Pays the work of looking at a value: the bytes of a string, the items of a list.
    pub(super) fn look(&self, value: &Value) -> Result<(), Error> {
        self.work(size(value).unwrap_or(1))
    }

    /// Visits all that a value holds and pays for it; the depth of its nesting, and whether it holds a namespace.
    pub(super) fn visit(&self, value: &Value) -> Result<Shape, Error> {
        self.visit_from(value, 0, true)
    }

    /// As [`Budget::visit`], without reading the strings.
    pub(super) fn walk(&self, value: &Value) -> Result<Shape, Error> {
        self.visit_from(value, 0, false)
    }

    fn visit_from(&self, value: &Value, depth: usize, read: bool) -> Result<Shape, Error> {
        self.work(VISIT + value.as_str().filter(|_| read).map_or(0, str::len))?;
        let mut shape = Shape { nodes: 1, bytes: value.as_str().map_or(0, str::len), namespace: false };
        let Some(object) = value.as_object() else { return Ok(shape) };
        if depth == MAX_DEPTH {
            return Err(self.fail(Fault::Limit("nesting")));
        }
        shape.namespace = value.downcast_object_ref::<Namespace>().is_some();
        match object.repr() {
            ObjectRepr::Map => {
                for (key, value) in object.try_iter_pairs().into_iter().flatten() {
                    shape.add(self.visit_from(&key, depth + 1, read)?);
                    shape.add(self.visit_from(&value, depth + 1, read)?);
                }
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                for item in object.try_iter().into_iter().flatten() {
                    shape.add(self.visit_from(&item, depth + 1, read)?);
                }
            }
            _ => {}
        }
        Ok(shape)
    }
}

/// What a value holds, shared parts counted each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) nodes: usize,
    /// Of strings.
    pub(super) bytes: usize,
    pub(super) namespace: bool,
}

impl Shape {
    pub(super) fn add(&mut self, other: Shape) {
        self.nodes += other.nodes;
        self.bytes += other.bytes;
        self.namespace |= other.namespace;
    }
}

/// An item, unless it is the error that ended its iterator.
fn valid(item: Value) -> Result<Value, Error> {
    match item.kind() {
        ValueKind::Invalid => Err(refused("a sequence ends in an error")),
        _ => Ok(item),
    }
}

/// Bytes of a string, or [`VISIT`] for each item of a container; none for other values.
pub(super) fn size(value: &Value) -> Option<usize> {
    match value.as_str() {
        Some(text) => Some(text.len()),
        None => value.len().map(|items| items * VISIT),
    }
}

/// Writes text and pays for it.
pub(super) struct Writer<'a> {
    budget: &'a Budget,
    out: &'a mut dyn fmt::Write,
}

impl<'a> Writer<'a> {
    pub(super) fn new(budget: &'a Budget, out: &'a mut dyn fmt::Write) -> Self {
        Writer { budget, out }
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.budget.charge(text.len() * WRITTEN).map_err(|_| fmt::Error)?;
        self.out.write_str(text)
    }
}
