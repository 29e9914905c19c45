//! The functions that templates call, and the values only they make.

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Value, ValueKind, from_args};
use minijinja::{Environment, Error, State};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::budget::{Budget, Fault, refused};
use super::{clock, quoted};

/// Longest `range`.
const MAX_RANGE: u64 = 100_000;

/// A function of this library, for templates.
pub(super) type Native = fn(&Budget, &mut State, &[Value]) -> Result<Value, Error>;

/// A native function as a value.
#[derive(Debug)]
pub(super) struct Callable(pub(super) Native);

impl Object for Callable {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let budget = Budget::of(state)?;
        (self.0)(&budget, state, args)
    }
}

pub(super) fn add(environment: &mut Environment) {
    let functions: [(&str, Native); 5] = [
        ("range", range),
        ("namespace", namespace),
        ("dict", dict),
        ("raise_exception", raise_exception),
        ("strftime_now", strftime_now),
    ];
    for (name, function) in functions {
        environment.add_global(name, Value::from_object(Callable(function)));
    }
}

/// The numbers of `range`: a list that is not stored.
#[derive(Debug)]
struct Range {
    start: i64,
    step: i64,
    len: usize,
}

impl Object for Range {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let index = key.as_usize().filter(|&index| index < self.len)?;
        Some(Value::from(self.start + self.step * index as i64))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.len)
    }
}

fn range(_: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (first, second, step): (i32, Option<i32>, Option<i32>) = from_args(args)?;
    let (start, stop) = second.map_or((0, first), |second| (first, second));
    let (start, stop, step) = (i64::from(start), i64::from(stop), i64::from(step.unwrap_or(1)));
    let distance = if step > 0 { stop - start } else { start - stop };
    let len = match step.unsigned_abs() {
        0 => return Err(refused("range() steps by 0")),
        step => (distance.max(0) as u64).div_ceil(step),
    };
    if len > MAX_RANGE {
        return Err(refused("range() is too long"));
    }
    Ok(Value::from_object(Range { start, step, len: len as usize }))
}

/// A `namespace`: the only value that a template changes.
#[derive(Debug, Default)]
pub(super) struct Namespace(Mutex<BTreeMap<Arc<str>, Value>>);

impl Object for Namespace {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let fields = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Enumerator::Values(fields.keys().map(|key| Value::from(key.clone())).collect())
    }
}

impl Namespace {
    /// Sets a field. No namespace may hold another: one that holds itself is never freed, and printing it never ends.
    pub(super) fn set(&self, budget: &Budget, key: &str, value: Value) -> Result<(), Error> {
        if value.as_object().is_some() && budget.walk(&value)?.namespace {
            return Err(refused("a namespace cannot hold a namespace"));
        }
        let mut fields = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(field) = fields.get_mut(key) {
            *field = value;
            return Ok(());
        }
        budget.charge(key.len() + 96)?;
        fields.insert(key.into(), value);
        Ok(())
    }
}

fn entries(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    let object = value.as_object().filter(|object| object.repr() == ObjectRepr::Map);
    let entries = object.and_then(|object| object.try_iter_pairs());
    Ok(entries.ok_or_else(|| refused("not a dict"))?.collect())
}

fn namespace(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let namespace = Namespace::default();
    budget.charge(128)?;
    for argument in args {
        for (key, value) in entries(argument)? {
            let key = key.as_str().ok_or_else(|| refused("a namespace's field has no name"))?;
            namespace.set(budget, key, value)?;
        }
    }
    Ok(Value::from_object(namespace))
}

fn dict(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let mut all = Vec::new();
    for argument in args {
        budget.fits(argument.len().unwrap_or(0) * 128)?;
        match argument.kind() {
            ValueKind::Map => all.extend(entries(argument)?),
            _ => return Err(refused("dict() takes a dict or keyword arguments")),
        }
    }
    let value = budget.made(Value::from_pairs(all))?;
    budget.visit(&value)?;
    Ok(value)
}

fn raise_exception(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (message,): (&Value,) = from_args(args)?;
    let shown = match message.as_str() {
        Some(text) => quoted(text),
        None => message.kind().to_string(),
    };
    Err(budget.fail(Fault::Raised(shown)))
}

fn strftime_now(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (format, _): (&str, Kwargs) = from_args(args)?;
    budget.text(|out| clock::format(out, format, SystemTime::now()))
}
