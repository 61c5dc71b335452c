//! Prints specs as OBuilder does: one op per line, the fields of `run` below each other, those of
//! `copy` too where they do not fit, and texts of several lines over several lines.

use std::{borrow::Cow, fmt};

use super::{
    Spec,
    layout::{Flow, Layout},
    ops::{Copy, Mount, Op, Run, Source, User},
    sexp::{Node, Sexp},
};

/// An s-expression that borrows its words from what is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree<'a> {
    Atom(Cow<'a, str>),
    List(Vec<Tree<'a>>),
}

impl<'a> From<&'a Sexp> for Tree<'a> {
    fn from(sexp: &'a Sexp) -> Self {
        match &sexp.node {
            Node::Atom(atom) => Self::Atom(Cow::Borrowed(atom)),
            Node::List(list) => Self::List(list.iter().map(Self::from).collect()),
        }
    }
}

/// The text of a spec.
pub(super) fn spec(spec: &Spec) -> String {
    let mut layout = Layout::new();
    layout.text("(");
    layout.open(Flow::Vertical);
    lines(&mut layout, spec);
    layout.close();
    layout.place_break(0);
    layout.text(")");
    layout.finish()
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut layout = Layout::new();
        op_lines(&mut layout, self);
        f.write_str(&layout.finish())
    }
}

/// Nested builds, base and ops, each on a line of its own.
fn lines<'a>(layout: &mut Layout<'a>, spec: &'a Spec) {
    for (name, child) in &spec.child_builds {
        layout.text("(build ");
        layout.open(Flow::Vertical);
        atom(layout, name.as_str());
        layout.place_break(0);
        layout.text("(");
        layout.open(Flow::Vertical);
        lines(layout, child);
        layout.close();
        layout.text(")");
        layout.close();
        layout.text(")");
        layout.place_break(0);
    }
    one_line(layout, &list("from", [word(spec.from.as_str())]));
    for op in &spec.ops {
        layout.place_break(0);
        op_lines(layout, op);
    }
}

pub(super) fn op_lines<'a>(layout: &mut Layout<'a>, op: &'a Op) {
    match op {
        Op::Comment(text) => one_line(layout, &list("comment", [word(text)])),
        Op::Workdir(dir) => one_line(layout, &list("workdir", [word(dir)])),
        Op::Shell(args) => one_line(layout, &words("shell", args)),
        Op::Env(name, value) => one_line(layout, &list("env", [word(name), word(value)])),
        Op::User(User::Named(name)) => {
            one_line(layout, &list("user", [list("name", [word(name)])]));
        }
        Op::User(User::Unix { uid, gid }) => {
            let uid = list("uid", [Tree::Atom(uid.to_string().into())]);
            let gid = list("gid", [Tree::Atom(gid.to_string().into())]);
            one_line(layout, &list("user", [uid, gid]));
        }
        Op::Run(run) => {
            layout.text("(run ");
            field_lines(layout, Flow::Vertical, 0, &run_fields(run));
        }
        Op::Copy(copy) => {
            layout.text("(copy ");
            field_lines(layout, Flow::Either, 1, &copy_fields(copy));
        }
    }
}

fn run_fields(run: &Run) -> Vec<Tree<'_>> {
    let mut fields = Vec::new();
    if !run.cache.is_empty() {
        fields.push(list("cache", run.cache.iter().map(mount)));
    }
    if !run.network.is_empty() {
        fields.push(words("network", &run.network));
    }
    if !run.secrets.is_empty() {
        fields.push(list("secrets", run.secrets.iter().map(mount)));
    }
    fields.push(list("shell", [word(&run.shell)]));
    fields
}

fn copy_fields(copy: &Copy) -> Vec<Tree<'_>> {
    let mut fields = Vec::new();
    if let Source::Build(name) = &copy.from {
        fields.push(list("from", [list("build", [word(name.as_str())])]));
    }
    fields.push(words("src", &copy.src));
    fields.push(list("dst", [word(&copy.dst)]));
    if !copy.exclude.is_empty() {
        fields.push(words("exclude", &copy.exclude));
    }
    fields
}

fn mount(mount: &Mount) -> Tree<'_> {
    let mut fields = vec![list("target", [word(&mount.target)])];
    if !mount.buildkit_options.is_empty() {
        let options = mount
            .buildkit_options
            .iter()
            .map(|(key, value)| Tree::List(vec![word(key), word(value)]));
        fields.push(list("buildkit_options", [Tree::List(options.collect())]));
    }
    list(&mount.id, fields)
}

fn field_lines<'a>(layout: &mut Layout<'a>, flow: Flow, spaces: i64, fields: &[Tree<'a>]) {
    layout.open(flow);
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            layout.place_break(spaces);
        }
        one_line(layout, field);
    }
    layout.close();
    layout.text(")");
}

fn word(word: &str) -> Tree<'_> {
    Tree::Atom(Cow::Borrowed(word))
}

fn list<'a>(head: &'a str, rest: impl IntoIterator<Item = Tree<'a>>) -> Tree<'a> {
    Tree::List(std::iter::once(word(head)).chain(rest).collect())
}

fn words<'a>(head: &'a str, rest: &'a [String]) -> Tree<'a> {
    list(head, rest.iter().map(|text| word(text)))
}

/// On one line, as far as its words are.
pub(super) fn one_line<'a>(layout: &mut Layout<'a>, tree: &Tree<'a>) {
    layout.open(Flow::Horizontal);
    flat(layout, tree);
    layout.close();
}

/// Recurses as deep as parentheses may nest.
fn flat<'a>(layout: &mut Layout<'a>, tree: &Tree<'a>) {
    match tree {
        Tree::Atom(Cow::Borrowed(text)) => atom(layout, text),
        Tree::Atom(Cow::Owned(text)) => layout.text(text.clone()),
        Tree::List(list) => {
            layout.text("(");
            for (index, tree) in list.iter().enumerate() {
                if index > 0 {
                    layout.place_break(1);
                }
                flat(layout, tree);
            }
            layout.text(")");
        }
    }
}

fn atom<'a>(layout: &mut Layout<'a>, text: &'a str) {
    if !needs_quotes(text) {
        layout.text(text);
        return;
    }
    let is_one_line = text.find('\n').is_none_or(|at| at + 1 == text.len());
    if is_one_line {
        layout.text(format!("\"{}\"", escape(text)));
        return;
    }
    layout.open(Flow::Fill);
    // The space puts the first line's text above that of the others, which begin with `\n`.
    layout.text(" \"");
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            layout.text("\\");
            layout.newline();
            layout.text("\\n");
        }
        layout.text(escape(line));
    }
    layout.text("\"");
    layout.close();
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.contains("#|")
        || text.contains("|#")
        || text.bytes().any(|byte| {
            !byte.is_ascii_graphic() || matches!(byte, b'"' | b'(' | b')' | b';' | b'\\')
        })
}

/// A word as it is written by itself.
pub(super) fn word_text(text: &str) -> String {
    let mut layout = Layout::new();
    atom(&mut layout, text);
    layout.finish()
}

/// A text as it is written between quotes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\{byte:03}")),
        }
    }
    out
}
