//! What the rewritten instructions call around the engine's operators: each checks, before an operator makes anything,
//! that the result fits, and pays for it.
//!
//! Their names have a space, so that no template can call or replace them. Those named `before` give back their
//! operands as a tuple, the last one first: unpacking it puts them back on the stack as they were.

use minijinja::value::{Tuple, Value};
use minijinja::{Environment, Error, State};

use super::budget::{Budget, refused, size};
use super::functions::{Callable, Namespace, Native};
use super::print;

pub(super) const CONCAT: &str = "before concat";
pub(super) const ADD: &str = "before add";
pub(super) const MULTIPLY: &str = "before multiply";
pub(super) const COMPARE: &str = "before compare";
pub(super) const CONTAINS: &str = "before contains";
pub(super) const CHAIN: &str = "before chain";
pub(super) const ITEM: &str = "before item";
pub(super) const SLICE: &str = "before slice";
pub(super) const ITERATE: &str = "check iterate";
pub(super) const UNPACK: &str = "check unpack";
pub(super) const MADE: &str = "check made";
pub(super) const WRITTEN: &str = "check written";
pub(super) const CYCLE: &str = "loop cycle";
pub(super) const NEST: &str = "check nest";
pub(super) const CLOSURE: &str = "check closure";
pub(super) const ASSIGN: &str = "assign field";

/// Heap bytes of a macro, with the closure that its frame may begin.
const CLOSURE_BYTES: usize = 1024;

/// Heap bytes of a variable in a closure, or of an item on a stack that doubles.
const SLOT_BYTES: usize = 72;

pub(super) fn add_all(environment: &mut Environment) {
    let functions: [(&str, Native); 16] = [
        (CONCAT, concat),
        (ADD, add),
        (MULTIPLY, multiply),
        (COMPARE, compare),
        (CONTAINS, contains),
        (CHAIN, chain),
        (ITEM, item),
        (SLICE, slice),
        (ITERATE, iterate),
        (UNPACK, unpack),
        (MADE, made),
        (WRITTEN, written),
        (CYCLE, cycle),
        (NEST, nest),
        (CLOSURE, closure),
        (ASSIGN, assign),
    ];
    for (name, function) in functions {
        environment.add_global(name, Value::from_object(Callable(function)));
    }
}

fn operands<const N: usize>(args: &[Value]) -> Result<[&Value; N], Error> {
    let args: &[Value; N] = args.try_into().map_err(|_| refused("operands are missing"))?;
    Ok(args.each_ref())
}

fn back(args: &[Value]) -> Value {
    Value::from(Tuple::from(args.iter().rev().cloned().collect::<Vec<_>>()))
}

/// Both as text, so that the engine's `~` joins two strings.
fn concat(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let mut texts = Vec::with_capacity(2);
    for value in args {
        texts.push(match value.as_str() {
            Some(_) => value.clone(),
            None => budget.text(|out| print::display(budget, value, out))?,
        });
    }
    let len: usize = texts.iter().filter_map(|text| text.as_str()).map(str::len).sum();
    // The engine formats into a string that grows.
    budget.fits(len * 4)?;
    Ok(back(&texts))
}

fn add(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [a, b] = operands(args)?;
    let bytes = if a.as_str().is_some() { 3 } else { 6 };
    budget.fits((size(a).unwrap_or(0) + size(b).unwrap_or(0)) * bytes)?;
    Ok(back(args))
}

fn multiply(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [a, b] = operands(args)?;
    for (sequence, times) in [(a, b), (b, a)] {
        if let Some(size) = size(sequence) {
            let times = times.as_usize().ok_or_else(|| refused("not repeated by a whole number"))?;
            budget.fits(size.saturating_mul(times).saturating_mul(6))?;
        }
    }
    Ok(back(args))
}

fn compare(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    for value in args {
        budget.visit(value)?;
    }
    Ok(back(args))
}

fn contains(budget: &Budget, state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value, container] = operands(args)?;
    if container.as_str().is_some() && value.as_str().is_none() {
        return Err(refused("only a string can be in a string"));
    }
    compare(budget, state, args)
}

/// One comparison of a chain such as `a < b < c`, of any kind.
fn chain(budget: &Budget, state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [a, b] = operands(args)?;
    if a.as_str().is_none() && b.as_str().is_some() {
        return Err(refused("a chain compares a string with another kind of value"));
    }
    compare(budget, state, args)
}

fn item(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [container, key] = operands(args)?;
    budget.visit(key)?;
    if container.as_str().is_some() {
        budget.look(container)?;
    }
    Ok(back(args))
}

fn slice(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [sequence, ..] = operands::<4>(args)?;
    budget.look(sequence)?;
    budget.fits(size(sequence).unwrap_or(0) * 6)?;
    Ok(back(args))
}

/// What a loop runs over.
fn iterate(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value] = operands(args)?;
    if value.as_str().is_some() {
        budget.look(value)?;
    }
    Ok(value.clone())
}

/// What is unpacked: the engine puts all of it on its stack before it counts.
fn unpack(_: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value, count] = operands(args)?;
    if value.as_object().is_some() && value.len() != count.as_usize() {
        return Err(refused("a sequence of the wrong length is unpacked"));
    }
    Ok(value.clone())
}

fn made(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value] = operands(args)?;
    budget.made(value.clone())
}

/// What was captured between two tags.
fn written(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value] = operands(args)?;
    budget.written(value.clone())
}

/// `loop.cycle`: the loop's index from 0, and what to choose from.
fn cycle(_: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (index, items) = args.split_first().ok_or_else(|| refused("operands are missing"))?;
    let turn = index.as_usize().and_then(|index| index.checked_rem(items.len()));
    let item = turn.and_then(|turn| items.get(turn)).cloned();
    item.ok_or_else(|| refused("loop.cycle() has nothing to choose from"))
}

/// A list, a tuple or a dict that the template has just built.
fn nest(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value] = operands(args)?;
    budget.walk(value)?;
    budget.made(value.clone())
}

/// Passes on a macro, or the `none` that stands for a variable in a closure or an item on the engine's stack.
fn closure(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value] = operands(args)?;
    budget.charge(if value.is_none() { SLOT_BYTES } else { CLOSURE_BYTES })?;
    Ok(value.clone())
}

/// `{% set namespace.field = value %}`.
fn assign(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let [value, target, field] = operands(args)?;
    match (target.downcast_object_ref::<Namespace>(), field.as_str()) {
        (Some(namespace), Some(field)) => namespace.set(budget, field, value.clone())?,
        _ => return Err(refused("only a field of a namespace can be assigned")),
    }
    Ok(Value::UNDEFINED)
}
