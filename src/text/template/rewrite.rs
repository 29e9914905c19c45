//! Compiles a template to the engine's instructions, and rewrites them so that a rendering stays within its budget.
//!
//! The engine's own limits are an instruction count and constants such as 100 MB for a repeated string: a few
//! instructions that double a string fill any memory. So each instruction that makes a value, or whose time depends on a
//! value's size, is put between calls of the functions in [`operators`].

use minijinja::machinery::{CompiledTemplate, Instruction, Instructions, TemplateConfig, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Error, ErrorKind};
use std::sync::Arc;

use super::operators::{self as op};
use super::source::CYCLE;
use super::{TextError, fault};

/// Most tokens between `{{` and `}}` or `{%` and `%}`. The engine walks expressions by recursion, and chains such as
/// `a.b.c` and `a + b + c` nest without its limit on nesting. Templates in use have up to about 200.
const MAX_TAG_TOKENS: usize = 1000;

/// Most `elif`s. Each nests in the one before.
const MAX_ELIFS: usize = 200;

/// Most bytes that constant expressions may repeat: the engine computes them when it compiles.
const MAX_REPEATED: f64 = 262_144.0;

/// Words that a list can follow.
const KEYWORDS: [&str; 11] = ["and", "call", "do", "elif", "else", "if", "in", "is", "not", "or", "print"];

/// The instructions of a template.
///
/// # Errors
/// [`TextError::Template`] for a syntax error, and for the few constructs that cannot be bounded.
pub(super) fn compile(source: &str) -> Result<Instructions<'_>, TextError> {
    let syntax_config = syntax()?;
    check(source, syntax_config.clone())?;
    let config = TemplateConfig { syntax_config, default_auto_escape: Arc::new(|_| AutoEscape::None) };
    let compiled = CompiledTemplate::new("chat", source, &config).map_err(|e| fault(&e))?;
    rewrite(&compiled.instructions, source)
}

/// The texts that a template names.
pub(super) fn texts<'a>(instructions: &'a Instructions) -> impl Iterator<Item = &'a str> {
    let all = (0..).map_while(|at| instructions.get(at));
    all.filter_map(|instruction| match instruction {
        Instruction::LoadConst(value) => value.as_str(),
        _ => None,
    })
}

/// The delimiters, and the spaces around them, as transformers has them.
pub(super) fn syntax() -> Result<SyntaxConfig, TextError> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| fault(&error))
}

/// Refuses sources that the engine's compiler would need too much stack or memory for.
fn check(source: &str, syntax: SyntaxConfig) -> Result<(), TextError> {
    let refuse =
        |line: u16, message: &str| TextError::Template { line: line.into(), message: message.into() };
    let (mut tag, mut elifs, mut repeated) = (Tag::default(), 0, 0.0);
    let mut opened = false;
    for token in tokenize(source, false, syntax) {
        // The compiler gives a better message for what is no token.
        let Ok((token, span)) = token else { return Ok(()) };
        match token {
            Token::TemplateData(_) => continue,
            Token::VariableStart | Token::BlockStart => tag = Tag::default(),
            Token::VariableEnd | Token::BlockEnd => repeated += tag.repeated(),
            Token::Ident("elif") if opened => elifs += 1,
            _ => {}
        }
        opened = matches!(token, Token::BlockStart);
        tag.add(&token);
        if tag.tokens > MAX_TAG_TOKENS {
            return Err(refuse(span.start_line, "an expression is too long"));
        }
        if elifs > MAX_ELIFS {
            return Err(refuse(span.start_line, "too many elif"));
        }
        if repeated > MAX_REPEATED {
            return Err(refuse(span.start_line, "a constant is repeated too often"));
        }
    }
    Ok(())
}

/// The tokens of a tag, as far as they bound the constants that can be computed from them.
struct Tag {
    tokens: usize,
    /// Whether a `[` now would be a subscript.
    operand: bool,
    multiplies: bool,
    /// Whether there is an operator that gives numbers out of all proportion to its operands.
    grows: bool,
    /// Bytes of strings, and items of lists and tuples as 24 bytes each.
    bytes: f64,
    /// Not less than any sum or product of the tag's numbers, where anything else counts as 1.
    product: f64,
}

impl Default for Tag {
    fn default() -> Self {
        Tag { tokens: 0, operand: false, multiplies: false, grows: false, bytes: 0.0, product: 1.0 }
    }
}

impl Tag {
    fn add(&mut self, token: &Token) {
        self.tokens += 1;
        let mut number = |n: f64| self.product *= n.abs() + 2.0;
        match token {
            Token::Mul => self.multiplies = true,
            Token::Pow | Token::Div => self.grows = true,
            Token::Int(n) => number(*n as f64),
            Token::Int128(n) => number(**n as f64),
            Token::Float(n) => number(*n),
            Token::Ident("true" | "True" | "false" | "False" | "none" | "None") => number(1.0),
            Token::Str(text) => self.bytes += text.len() as f64,
            Token::String(text) => self.bytes += text.len() as f64,
            Token::Comma => self.bytes += 24.0,
            Token::BracketOpen if !self.operand => self.bytes += 24.0,
            _ => {}
        }
        self.operand = match token {
            Token::Ident(name) => !KEYWORDS.contains(name),
            Token::Str(_) | Token::String(_) | Token::BracketClose | Token::ParenClose => true,
            _ => false,
        };
    }

    fn repeated(&self) -> f64 {
        match (self.multiplies && self.bytes > 0.0, self.grows) {
            (false, _) => 0.0,
            (true, true) => f64::INFINITY,
            (true, false) => self.bytes * self.product,
        }
    }
}

/// Rewrites the instructions one by one, and moves the targets of jumps accordingly.
fn rewrite<'a>(old: &Instructions<'a>, source: &'a str) -> Result<Instructions<'a>, TextError> {
    let mut new = Instructions::new("chat", source);
    let mut starts = Vec::new();
    for at in 0.. {
        let Some(instruction) = old.get(at) else { break };
        let line = old.get_line(at).unwrap_or(0) as u16;
        starts.push(new.add_with_line(Instruction::Jump(0), line));
        let after_loop =
            matches!(at.checked_sub(1).and_then(|at| old.get(at)), Some(Instruction::Lookup("loop")));
        if after_loop && !matches!(instruction, Instruction::GetAttr(_)) {
            return Err(unsupported(line, "`loop` other than `loop.field`"));
        }
        let written = expand(instruction).map_err(|what| unsupported(line, what))?;
        let mut written = written.into_iter().flatten();
        if let (Some(first), Some(start)) = (written.next(), starts.last().and_then(|&at| new.get_mut(at))) {
            *start = first;
        }
        for instruction in written {
            new.add_with_line(instruction, line);
        }
    }
    let end = new.add(Instruction::LoadConst(Value::UNDEFINED));
    for at in 0..end {
        use Instruction::{BuildMacro, Iterate, Jump, JumpIfFalse, JumpIfFalseOrPop, JumpIfTrueOrPop};
        if let Some(
            Iterate(target)
            | Jump(target)
            | JumpIfFalse(target)
            | JumpIfFalseOrPop(target)
            | JumpIfTrueOrPop(target)
            | BuildMacro(_, target, _),
        ) = new.get_mut(at)
        {
            *target = starts.get(*target as usize).copied().unwrap_or(end);
        }
    }
    Ok(new)
}

fn unsupported(line: u16, what: &str) -> TextError {
    TextError::Template { line: line.into(), message: format!("{what} is not supported") }
}

/// What takes the place of an instruction: at most five.
type Expansion<'a> = [Option<Instruction<'a>>; 5];

fn expand<'a>(instruction: &Instruction<'a>) -> Result<Expansion<'a>, &'static str> {
    use Instruction as I;
    let call = |name, operands| Some(I::CallFunction(name, Some(operands)));
    let own = Some(instruction.clone());
    let load = |value: Value| Some(I::LoadConst(value));
    // Check the operands, put them back, run the operator.
    let checked = |name, operands: u16| {
        [call(name, operands), Some(I::UnpackList(operands.into())), own.clone(), None, None]
    };
    let making = |name, operands: u16| {
        [call(name, operands), Some(I::UnpackList(operands.into())), own.clone(), call(op::MADE, 1), None]
    };
    Ok(match instruction {
        // Through the formatter, like all output.
        I::EmitRaw(text) => [load(Value::from(*text)), Some(I::Emit), None, None, None],
        I::LoadConst(value) if value.kind() == ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter().map_err(|_| "this constant")?.collect();
            [load(Value::from(items)), None, None, None, None]
        }
        I::StringConcat => making(op::CONCAT, 2),
        I::Add => making(op::ADD, 2),
        I::Mul => making(op::MULTIPLY, 2),
        I::Slice => making(op::SLICE, 4),
        I::GetItem => checked(op::ITEM, 2),
        I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte => checked(op::COMPARE, 2),
        I::In => checked(op::CONTAINS, 2),
        I::CompareAndPreserve(_) => checked(op::CHAIN, 2),
        I::CallFunction(name, operands @ Some(_)) if *name == CYCLE => {
            [Some(I::CallFunction(op::CYCLE, *operands)), None, None, None, None]
        }
        I::EndCapture => [own, call(op::WRITTEN, 1), None, None, None],
        I::BuildMap(_) | I::BuildList(Some(_)) | I::BuildTuple(_) => {
            [own, call(op::NEST, 1), None, None, None]
        }
        I::UnpackList(count) => [load(Value::from(*count)), call(op::UNPACK, 2), own, None, None],
        I::SetAttr(field) => {
            [load(Value::from(*field)), call(op::ASSIGN, 3), Some(I::DiscardTop), None, None]
        }
        I::PushLoop(_) | I::FastRecurse | I::CallFunction("loop", Some(1)) => {
            [call(op::ITERATE, 1), own, None, None, None]
        }
        I::BuildMacro(..) => [own, call(op::CLOSURE, 1), None, None, None],
        I::Enclose(_) => [load(Value::from(())), call(op::CLOSURE, 1), Some(I::DiscardTop), own, None],
        // `for ... if ...` gathers its items on the engine's stack, and then in a list that only the loop sees.
        I::Swap => [load(Value::from(())), call(op::CLOSURE, 1), Some(I::DiscardTop), own, None],
        I::BuildList(None) => [own, call(op::MADE, 1), None, None, None],
        I::UnpackLists(_) | I::MergeKwargs(_) => return Err("`*` and `**` before an argument"),
        I::CallFunction(_, None)
        | I::CallMethod(_, None)
        | I::CallObject(None)
        | I::ApplyFilter(_, None, _)
        | I::PerformTest(_, None, _) => {
            return Err("`*` before an argument");
        }
        I::PushAutoEscape => return Err("`autoescape`"),
        I::LoadBlocks | I::Include(_) | I::ExportLocals => return Err("another template"),
        I::CallBlock(_) | I::FastSuper => return Err("`block`"),
        _ => [own, None, None, None, None],
    })
}

/// The line of an error of the engine, and whether it is out of instructions.
pub(super) fn place(error: &Error) -> (u32, bool) {
    (error.line().unwrap_or(0) as u32, error.kind() == ErrorKind::OutOfFuel)
}
