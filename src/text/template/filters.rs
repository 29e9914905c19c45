//! The filters, tests and methods that templates may use: the engine's, each checked before and paid for after, and
//! those whose result is out of proportion to their operands written anew.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, filters, tests};
use minijinja_contrib::pycompat;
use std::fmt::Write;

use super::budget::{Budget, VISIT, Writer, refused, size};
use super::functions::Native;
use super::print::{self, Indent, Style};

/// How a filter of the engine is paid for.
#[derive(Clone, Copy)]
enum Cost {
    /// It looks at its operands and gives back something that is there.
    Look,
    /// It makes something in proportion to its operands.
    Make,
    /// It compares all that its operands hold, and makes a list of it.
    Sort,
}

pub(super) fn add(environment: &mut Environment) {
    macro_rules! engine {
        ($($name:literal $cost:ident $filter:path;)*) => {
            $(wrap(environment, $name, Cost::$cost, Value::from_function($filter));)*
        };
    }
    engine! {
        "abs" Make filters::abs; "attr" Look filters::attr; "bool" Look filters::bool;
        "capitalize" Make filters::capitalize; "count" Look filters::length; "d" Look filters::default;
        "default" Look filters::default; "dictsort" Sort filters::dictsort; "first" Look filters::first;
        "float" Look filters::float; "int" Look filters::int; "items" Make filters::items;
        "last" Look filters::last; "length" Look filters::length; "lower" Make filters::lower;
        "map" Make filters::map; "max" Sort filters::max; "min" Sort filters::min;
        "reject" Make filters::reject; "rejectattr" Make filters::rejectattr; "reverse" Make filters::reverse;
        "round" Look filters::round; "select" Make filters::select; "selectattr" Make filters::selectattr;
        "sort" Sort filters::sort; "title" Make filters::title; "trim" Make filters::trim;
        "unique" Sort filters::unique; "upper" Make filters::upper;
    }
    let own: [(&'static str, Native); 10] = [
        ("e", escape),
        ("escape", escape),
        ("indent", indent),
        ("join", join),
        ("list", list),
        ("replace", replace),
        ("safe", string),
        ("string", string),
        ("sum", sum),
        ("tojson", tojson),
    ];
    for (name, filter) in own {
        environment.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let budget = Budget::of(state)?;
            filter(&budget, state, &args.into_values())
        });
    }
    add_tests(environment);
    environment.set_unknown_method_callback(method);
}

fn wrap(environment: &mut Environment, name: &'static str, cost: Cost, filter: Value) {
    environment.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let (budget, args) = (Budget::of(state)?, args.into_values());
        before(&budget, cost, &args)?;
        let result = filter.call(state, &args)?;
        match cost {
            Cost::Look => Ok(result),
            Cost::Make | Cost::Sort => budget.made(result),
        }
    });
}

fn before(budget: &Budget, cost: Cost, args: &[Value]) -> Result<(), Error> {
    for value in args {
        match cost {
            Cost::Look => budget.look(value)?,
            Cost::Make => {
                budget.look(value)?;
                // Upper case has up to three times the bytes; a string is built and then copied. An item: 128 bytes.
                budget.fits(size(value).unwrap_or(0) * 8)?;
            }
            Cost::Sort => {
                let shape = budget.visit(value)?;
                let rounds = shape.nodes.ilog2() as usize + 1;
                budget.work((shape.nodes * VISIT + shape.bytes).saturating_mul(rounds * 2))?;
                budget.fits(shape.nodes * 128 + shape.bytes * 4)?;
            }
        }
    }
    Ok(())
}

fn add_tests(environment: &mut Environment) {
    macro_rules! plain {
        ($($name:literal $test:path;)*) => { $(environment.add_test($name, $test);)* };
    }
    plain! {
        "boolean" tests::is_boolean; "defined" tests::is_defined; "even" tests::is_even; "false" tests::is_false;
        "float" tests::is_float; "integer" tests::is_integer; "iterable" tests::is_iterable;
        "mapping" tests::is_mapping; "none" tests::is_none; "number" tests::is_number; "odd" tests::is_odd;
        "sequence" is_sequence; "string" tests::is_string; "true" tests::is_true;
        "undefined" tests::is_undefined;
    }
    macro_rules! compared {
        ($($($name:literal)+, $test:path;)*) => {
            $($(environment.add_test($name, |state: &mut State, a: &Value, b: &Value| {
                let budget = Budget::of(state)?;
                budget.visit(a)?;
                budget.visit(b)?;
                Ok::<_, Error>($test(a, b))
            });)+)*
        };
    }
    compared! {
        "eq" "equalto" "==", tests::is_eq; "ne" "!=", tests::is_ne; "lt" "lessthan" "<", tests::is_lt;
        "le" "<=", tests::is_le; "gt" "greaterthan" ">", tests::is_gt; "ge" ">=", tests::is_ge;
        "sameas", tests::is_sameas;
    }
    environment.add_test("in", |state: &mut State, value: &Value, container: &Value| {
        let budget = Budget::of(state)?;
        budget.visit(value)?;
        budget.visit(container)?;
        if container.as_str().is_some() && value.as_str().is_none() {
            return Err(refused("only a string can be in a string"));
        }
        tests::is_in(state, value, container)
    });
    environment.add_test("lower", |state: &mut State, value: &Value| {
        Budget::of(state)?.look(value)?;
        Ok::<_, Error>(tests::is_lower(value))
    });
    environment.add_test("upper", |state: &mut State, value: &Value| {
        Budget::of(state)?.look(value)?;
        Ok::<_, Error>(tests::is_upper(value))
    });
    environment.add_test("divisibleby", |value: i64, by: i64| {
        value.checked_rem(by).map(|rest| rest == 0).ok_or_else(|| refused("divided by 0"))
    });
}

/// What has a length and items: in Jinja, strings and dicts too.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
}

/// Python's methods of strings and dicts.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let budget = Budget::of(state)?;
    budget.look(value)?;
    args.iter().try_for_each(|value| budget.visit(value).map(drop))?;
    match (value.as_str(), name) {
        (Some(_), "replace") => replace(&budget, state, &[std::slice::from_ref(value), args].concat()),
        (Some(text), "join") => {
            let (items,): (&Value,) = from_args(args)?;
            joined(&budget, items, text, None)
        }
        (Some(text), "split") => split(&budget, text, args),
        // Its widths are in the string.
        (Some(_), "format") => Err(Error::from(ErrorKind::UnknownMethod)),
        (Some(text), _) => {
            // Each character may be compared with each of an argument, as in `strip`.
            let others: usize = args.iter().filter_map(size).sum();
            budget.work(text.len().saturating_mul(others))?;
            budget.fits(text.len() * 8 + others * 8)?;
            budget.made(pycompat::unknown_method_callback(state, value, name, args)?)
        }
        // Gives back what is there.
        (None, "get") => pycompat::unknown_method_callback(state, value, name, args),
        (None, _) => {
            budget.fits(size(value).unwrap_or(0) * 8)?;
            budget.made(pycompat::unknown_method_callback(state, value, name, args)?)
        }
    }
}

fn string(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value,): (&Value,) = from_args(args)?;
    match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => budget.text(|out| print::display(budget, value, out)),
    }
}

fn escape(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value,): (&Value,) = from_args(args)?;
    let shown = budget.text(|out| print::display(budget, value, out))?;
    budget.text(|out| {
        for c in shown.as_str().unwrap_or("").chars() {
            match c {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '\'' => out.write_str("&#39;")?,
                '"' => out.write_str("&#34;")?,
                c => out.write_char(c)?,
            }
        }
        Ok(())
    })
}

/// As transformers': `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    type Given = Option<Value>;
    let (value, ascii, indent, separators, options): (&Value, Given, Given, Given, Kwargs) = from_args(args)?;
    let option = |given: Given, name: &str| given.map_or_else(|| options.get(name), |value| Ok(Some(value)));
    let (ascii, indent) = (option(ascii, "ensure_ascii")?, option(indent, "indent")?);
    let (separators, sorted) = (option(separators, "separators")?, option(None, "sort_keys")?);
    options.assert_all_used()?;
    let (indent, separators) = (indent.filter(|v| !v.is_none()), separators.filter(|v| !v.is_none()));
    let indent = match &indent {
        None => None,
        Some(value) => Some(match value.as_str() {
            Some(text) => Indent::Text(text),
            None => Indent::Spaces(i64::try_from(value.clone())?.try_into().unwrap_or(0)),
        }),
    };
    let pair = match &separators {
        None => None,
        Some(pair) => Some((pair.get_item_by_index(0)?, pair.get_item_by_index(1)?)),
    };
    let separators = match &pair {
        None => (if indent.is_some() { "," } else { ", " }, ": "),
        Some((item, key)) => {
            let text = |value| Value::as_str(value).ok_or_else(|| refused("a separator is not a string"));
            (text(item)?, text(key)?)
        }
    };
    let truth = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let style = Style { indent, separators, ascii: truth(ascii), sorted: truth(sorted) };
    if style.sorted {
        before(budget, Cost::Sort, std::slice::from_ref(value))?;
    }
    budget.text(|out| print::json(budget, value, &style, out))
}

fn indent(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, width, first, blank, options): (&str, Option<usize>, Option<bool>, Option<bool>, Kwargs) =
        from_args(args)?;
    let width = width.map_or_else(|| options.get("width"), |width| Ok(Some(width)))?.unwrap_or(4);
    let first = first.map_or_else(|| options.get("first"), |first| Ok(Some(first)))?.unwrap_or(false);
    let blank = blank.map_or_else(|| options.get("blank"), |blank| Ok(Some(blank)))?.unwrap_or(false);
    options.assert_all_used()?;
    budget.text(|out| {
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                out.write_char('\n')?;
            }
            if if number == 0 { first } else { blank || !line.is_empty() } {
                print::spaces(width, out)?;
            }
            out.write_str(line)?;
        }
        Ok(())
    })
}

fn join(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (items, separator, options): (&Value, Option<&str>, Kwargs) = from_args(args)?;
    let separator = separator.map_or_else(|| options.get("d"), |d| Ok(Some(d)))?.unwrap_or("");
    let attribute: Option<&str> = options.get("attribute")?;
    options.assert_all_used()?;
    joined(budget, items, separator, attribute)
}

fn joined(budget: &Budget, items: &Value, separator: &str, attribute: Option<&str>) -> Result<Value, Error> {
    budget.look(items)?;
    budget.text(|out: &mut Writer| {
        for (index, item) in items.try_iter()?.enumerate() {
            if index > 0 {
                out.write_str(separator)?;
            }
            match attribute {
                Some(name) => print::display(budget, &item.get_attr(name)?, out)?,
                None => print::display(budget, &item, out)?,
            }
        }
        Ok(())
    })
}

/// Of numbers only: each step of a sum of lists or strings would make a new one.
fn sum(budget: &Budget, state: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (items, attribute, start, options): (&Value, Option<&str>, Option<Value>, Kwargs) = from_args(args)?;
    let attribute = attribute.map_or_else(|| options.get("attribute"), |name| Ok(Some(name)))?;
    let start = start.map_or_else(|| options.get("start"), |start| Ok(Some(start)))?;
    budget.look(items)?;
    budget.fits(size(items).unwrap_or(0) * 8)?;
    let mut numbers = Vec::new();
    for item in items.try_iter()? {
        numbers.push(attribute.map_or_else(|| Ok(item.clone()), |name| item.get_attr(name))?);
    }
    if !numbers.iter().chain(&start).all(Value::is_number) {
        return Err(refused("only numbers are summed"));
    }
    filters::sum(
        state,
        Value::from(numbers),
        None,
        start,
        Kwargs::from_iter(std::iter::empty::<(String, Value)>()),
    )
}

fn list(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (value,): (&Value,) = from_args(args)?;
    budget.look(value)?;
    budget.list(value.try_iter()?.map(Ok))
}

fn replace(budget: &Budget, _: &mut State, args: &[Value]) -> Result<Value, Error> {
    let (text, old, new, count): (&str, &str, &str, Option<i64>) = from_args(args)?;
    budget.work(text.len() + old.len() + new.len())?;
    // A negative count means all.
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    budget.text(|out| {
        let mut start = 0;
        for (at, found) in text.match_indices(old).take(most) {
            out.write_str(&text[start..at])?;
            out.write_str(new)?;
            start = at + found.len();
        }
        Ok(out.write_str(&text[start..])?)
    })
}

fn split(budget: &Budget, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut push = |part: &str| {
        // Its place in a vector that doubles.
        budget.charge(128)?;
        budget.fits(part.len() * 2)?;
        parts.push(budget.made(Value::from(part))?);
        Ok::<_, Error>(())
    };
    match separator {
        Some("") => return Err(refused("split by nothing")),
        Some(separator) => text.splitn(most.saturating_add(1), separator).try_for_each(&mut push)?,
        None => {
            let mut rest = text.trim_start();
            for _ in 0..most {
                let Some(end) = rest.find(char::is_whitespace) else { break };
                push(&rest[..end])?;
                rest = rest[end..].trim_start();
            }
            if !rest.is_empty() {
                push(rest)?;
            }
        }
    }
    Ok(Value::from(parts))
}
