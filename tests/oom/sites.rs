//! From return addresses to names of places that do not change with line numbers, inlining or addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::process::{Command, Stdio};

/// Functions by address, all that are inlined there, innermost first.
#[derive(Default)]
pub struct Symbols {
    known: HashMap<usize, Vec<String>>,
}

impl Symbols {
    /// Learns the names of addresses of this program, by one run of `addr2line`.
    pub fn learn(&mut self, traces: &[Vec<usize>]) {
        let (base, end) = image();
        let wanted: BTreeSet<usize> =
            traces.iter().flatten().copied().filter(|at| !self.known.contains_key(at)).collect();
        let inner: Vec<usize> = wanted.iter().copied().filter(|at| (base..end).contains(at)).collect();
        for &at in &wanted {
            self.known.insert(at, Vec::new());
        }
        if inner.is_empty() {
            return;
        }
        // A return address is behind its call.
        let questions: String = inner.iter().map(|at| format!("{:#x}\n", at - base - 1)).collect();
        let mut tool = Command::new("addr2line")
            .args(["-f", "-C", "-i", "-a", "-e"])
            .arg(std::env::current_exe().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("addr2line, of the same package as the linker");
        let mut to = tool.stdin.take().unwrap();
        let writer = std::thread::spawn(move || to.write_all(questions.as_bytes()));
        let answer = tool.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let mut asked = inner.iter();
        let mut at = None;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("0x") {
                at = asked.next();
                continue;
            }
            lines.next(); // the file
            if let Some(names) = at.and_then(|at| self.known.get_mut(at)) {
                names.push(plain(line));
            }
        }
    }

    fn names(&self, trace: &[usize]) -> impl Iterator<Item = &str> {
        trace.iter().filter_map(|at| self.known.get(at)).flatten().map(String::as_str)
    }

    /// Whether a trace is of an allocation that could not fail and did.
    pub fn is_alloc_error(&self, trace: &[usize]) -> bool {
        self.names(trace).any(|name| name.contains("handle_alloc_error") || name.contains("rust_oom"))
    }

    /// The innermost function of ours, and which crate allocated when that is not the standard library.
    pub fn site(&self, trace: &[usize]) -> String {
        let mut by = None;
        for name in self.names(trace) {
            match maker(name) {
                Maker::Ours => {
                    let name =
                        if is_of_the_abi(name) { format!("plimsoll::capi::{name}") } else { name.into() };
                    return by.map_or_else(|| name.clone(), |by| format!("{name} -> {by}"));
                }
                Maker::Harness => break,
                Maker::Thread => by = by.or(Some("std::thread")),
                Maker::Standard => {}
                Maker::Dependency(other) => by = by.or(Some(other)),
            }
        }
        by.unwrap_or("std").into()
    }

    /// All names of a trace, for people.
    pub fn trace(&self, trace: &[usize]) -> String {
        self.names(trace).take(24).map(|name| format!("\n        {name}")).collect()
    }
}

enum Maker<'a> {
    Ours,
    Harness,
    Thread,
    Standard,
    Dependency(&'a str),
}

/// Whether it is a function of the C ABI, whose name has no crate.
fn is_of_the_abi(name: &str) -> bool {
    name.starts_with("plimsoll_") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn maker(name: &str) -> Maker<'_> {
    if is_of_the_abi(name) {
        return Maker::Ours;
    }
    // The allocator and the signal's handler are innermost of all.
    if name.contains("oom::inject") || name.contains("oom::on_abort") {
        return Maker::Standard;
    }
    if name.starts_with("std::thread") {
        return Maker::Thread;
    }
    let mut rest = name.trim_start_matches(['<', '&', '*', '(', '[']);
    for word in ["mut ", "const ", "dyn ", "impl "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (first, after) = rest.split_at(end);
    match first {
        "plimsoll" | "plimsoll_engine" | "plimsoll_formats" | "plimsoll_scheduler" | "plimsoll_candle"
        | "plimsoll_plugin" => Maker::Ours,
        "oom" => Maker::Harness,
        "std" | "core" | "alloc" | "hashbrown" => Maker::Standard,
        // Type parameters, C's functions, what has no name.
        _ if !after.starts_with("::") || first.starts_with(|c: char| !c.is_lowercase()) => Maker::Standard,
        _ => Maker::Dependency(first),
    }
}

/// A function's name without what the compiler adds.
fn plain(name: &str) -> String {
    let mut name = name.to_owned();
    if let Some(at) = name.rfind("::h").filter(|at| name.len() - at == 19) {
        name.truncate(at);
    }
    for noise in ["::{{closure}}", "{{vtable.shim}}", "{{closure}}"] {
        name = name.replace(noise, "");
    }
    name
}

/// Where this program's code lies.
fn image() -> (usize, usize) {
    let path = std::env::current_exe().unwrap();
    let path = path.to_str().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ranges: Vec<(usize, usize)> = maps
        .lines()
        .filter(|line| line.ends_with(path))
        .filter_map(|line| {
            let (from, rest) = line.split_once('-')?;
            let to = rest.split(' ').next()?;
            Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
        })
        .collect();
    (ranges[0].0, ranges[ranges.len() - 1].1)
}

/// The list of places where a refused allocation still ends the process, and what became of it.
pub struct List {
    allowed: BTreeSet<String>,
    /// Places that aborted, with the scenes in which they did.
    pub met: BTreeMap<String, BTreeSet<&'static str>>,
}

/// Our crate and its module, at the first place where a name has them; the whole name where it has none.
fn module(site: &str) -> &str {
    let Some(start) = site.find("plimsoll") else { return site };
    let name = &site[start..];
    let end = name.match_indices("::").nth(1).map_or(name.len(), |(at, _)| at);
    name[..end].split([' ', '<', '>']).next().unwrap_or(name)
}

impl List {
    pub fn read() -> List {
        let lines = include_str!("sites.txt").lines();
        let allowed =
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
        List { allowed, met: BTreeMap::new() }
    }

    pub fn allows(&self, site: &str) -> bool {
        self.allowed.contains(site)
    }

    pub fn meet(&mut self, site: String, scene: &'static str) {
        self.met.entry(site).or_default().insert(scene);
    }

    /// Places that are on no list, and whether the list has another place of the same module.
    pub fn new_ones(&self) -> Vec<(String, bool)> {
        let new = self.met.iter().filter(|(site, _)| !self.allows(site));
        let known = |site: &str| self.allowed.iter().any(|other| module(other) == module(site));
        new.map(|(site, scenes)| (format!("{site}    in {scenes:?}"), known(site))).collect()
    }

    /// Places of the list where nothing aborted.
    pub fn gone(&self) -> Vec<&String> {
        self.allowed.iter().filter(|site| !self.met.contains_key(*site)).collect()
    }

    pub fn len(&self) -> usize {
        self.allowed.len()
    }
}
