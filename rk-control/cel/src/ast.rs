//! Expressions as trees.

use crate::registry::Overload;

/// A node, with the place at which messages about it point.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) at: u32,
    /// How many levels there are from here down.
    pub(crate) depth: u16,
    pub(crate) kind: Kind,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// An entry of a literal that may be left out (`?`).
#[derive(Debug)]
pub(crate) struct Entry<K> {
    pub(crate) at: u32,
    pub(crate) key: K,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    Select {
        on: Box<Expr>,
        field: String,
        test: bool,
        optional: bool,
    },
    /// Functions and operators; the target of a member call is the first argument.
    Call {
        name: String,
        overloads: &'static [Overload],
        member: bool,
        args: Vec<Expr>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Cond(Box<[Expr; 3]>),
    List(Vec<Entry<()>>),
    Map(Vec<Entry<Expr>>),
    Struct {
        name: String,
        fields: Vec<Entry<String>>,
    },
    Fold(Box<Fold>),
    Bind {
        name: String,
        init: Box<Expr>,
        body: Box<Expr>,
    },
    /// `optMap` and `optFlatMap`.
    OnOptional {
        flat: bool,
        on: Box<Expr>,
        name: String,
        body: Box<Expr>,
    },
}

/// What a macro over a list or map makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoldOp {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformMap,
    TransformMapEntry,
    /// The elements, in the order of what is made of them.
    SortBy,
}

#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) op: FoldOp,
    pub(crate) range: Expr,
    /// The element; with two variables index and element, or key and value.
    pub(crate) names: Vec<String>,
    /// Which elements count.
    pub(crate) filter: Option<Expr>,
    /// What is made of each.
    pub(crate) body: Option<Expr>,
}

impl Expr {
    /// Every node that this one holds.
    pub(crate) fn children<'a>(&'a self, found: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { on, .. } => found(on),
            Kind::Call { args, .. } | Kind::And(args) | Kind::Or(args) => args.iter().for_each(found),
            Kind::Cond(parts) => parts.iter().for_each(found),
            Kind::List(items) => items.iter().for_each(|item| found(&item.value)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                found(&entry.key);
                found(&entry.value);
            }),
            Kind::Struct { fields, .. } => fields.iter().for_each(|field| found(&field.value)),
            Kind::Fold(fold) => {
                found(&fold.range);
                fold.filter.iter().chain(&fold.body).for_each(found);
            }
            Kind::Bind { init, body, .. } => {
                found(init);
                found(body);
            }
            Kind::OnOptional { on, body, .. } => {
                found(on);
                found(body);
            }
        }
    }

    /// Whether a name occurs.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        let mut found = matches!(&self.kind, Kind::Ident(own) if own == name);
        self.children(&mut |child| found = found || child.mentions(name));
        found
    }
}
