//! What one rendering may still make and do. Each value and each byte written is charged before or when it is made.

use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    fault: Mutex<Option<Fault>>,
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
    pub(super) fn new(bytes: u64, work: u64) -> Arc<Self> {
        Arc::new(Budget { bytes: bytes.into(), work: work.into(), fault: Mutex::new(None) })
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
        self.take(&self.bytes, bytes, "memory")
    }

    /// Pays for work: bytes scanned, and [`VISIT`] for each value visited.
    pub(super) fn work(&self, units: usize) -> Result<(), Error> {
        self.take(&self.work, units, "work")
    }

    /// That so many bytes can be made before they are charged.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), Error> {
        if bytes as u64 <= self.bytes.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(self.fail(Fault::Limit("memory")))
    }

    /// Pays for a new value. What is lazy becomes a list: lazy values nest without bound and are computed again and
    /// again.
    pub(super) fn made(&self, value: Value) -> Result<Value, Error> {
        match value.kind() {
            // A string is built and then copied into its shared form, or, if short, into the value itself.
            ValueKind::String => match value.as_str().map_or(0, str::len) {
                0..=INLINE => {}
                len => self.charge(len * 2 + OVERHEAD)?,
            },
            ValueKind::Map => self.charge(value.len().unwrap_or(0) * ENTRY + OVERHEAD)?,
            ValueKind::Seq => self.charge(value.len().unwrap_or(0) * ITEM + OVERHEAD)?,
            ValueKind::Iterable => {
                let mut items = Vec::new();
                self.charge(OVERHEAD)?;
                for item in value.try_iter()? {
                    // The vector doubles: the old one, the new one.
                    self.charge(3 * ITEM)?;
                    items.push(valid(item)?);
                }
                return Ok(Value::from(items));
            }
            _ => {}
        }
        Ok(value)
    }

    /// A string from what `write` writes.
    pub(super) fn text(&self, write: impl FnOnce(&mut Writer) -> Result<(), Error>) -> Result<Value, Error> {
        let mut text = String::new();
        write(&mut Writer { budget: self, out: &mut text })?;
        if text.len() > INLINE {
            self.charge(OVERHEAD)?;
        }
        Ok(Value::from(text))
    }

    /// Pays the work of looking at a value: the bytes of a string, the items of a list.
    pub(super) fn look(&self, value: &Value) -> Result<(), Error> {
        self.work(size(value).unwrap_or(1))
    }

    /// Visits all that a value holds and pays for it; the depth of its nesting, and whether it holds a namespace.
    pub(super) fn visit(&self, value: &Value) -> Result<Shape, Error> {
        self.visit_from(value, 0)
    }

    fn visit_from(&self, value: &Value, depth: usize) -> Result<Shape, Error> {
        self.work(VISIT + value.as_str().map_or(0, str::len))?;
        let mut shape = Shape { nodes: 1, bytes: value.as_str().map_or(0, str::len), namespace: false };
        let Some(object) = value.as_object() else { return Ok(shape) };
        if depth == MAX_DEPTH {
            return Err(self.fail(Fault::Limit("nesting")));
        }
        shape.namespace = value.downcast_object_ref::<Namespace>().is_some();
        match object.repr() {
            ObjectRepr::Map => {
                for (key, value) in object.try_iter_pairs().into_iter().flatten() {
                    shape.add(self.visit_from(&key, depth + 1)?);
                    shape.add(self.visit_from(&value, depth + 1)?);
                }
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                for item in object.try_iter().into_iter().flatten() {
                    shape.add(self.visit_from(&item, depth + 1)?);
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

/// Writes text and pays for it: for a growing string, three times, as it doubles and the old one lives until it is copied.
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
        self.budget.charge(text.len() * 3).map_err(|_| fmt::Error)?;
        self.out.write_str(text)
    }
}
