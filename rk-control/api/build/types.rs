//! `tables/types.txt` to the static tables of `schema::rows`.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A field line.
struct Field<'a> {
    /// Numbers from the outermost inlined message inwards; empty without a wire form.
    numbers: Vec<u32>,
    name: &'a str,
    pointer: bool,
    /// Always written.
    written: bool,
    /// Required of clients.
    required: bool,
    ty: &'a str,
    options: Vec<&'a str>,
}

/// A block.
struct Type<'a> {
    name: &'a str,
    kind: bool,
    atomic: bool,
    fields: Vec<Field<'a>>,
}

/// The source text of the tables; panics name the line at fault, which fails the build.
pub fn generate(text: &str) -> String {
    let mut groups = BTreeMap::new();
    let mut types: Vec<Type> = Vec::new();
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["group", package, group] => drop(groups.insert(*package, group.trim_matches('-'))),
            [numbers, name, ty, options @ ..] if line.starts_with(' ') => {
                let field = field(numbers, name, ty, options);
                types.last_mut().expect("a type before its fields").fields.push(field);
            }
            [name, flags @ ..] => types.push(Type {
                name,
                kind: flags.contains(&"kind"),
                atomic: flags.contains(&"atomic"),
                fields: Vec::new(),
            }),
            [] => {}
        }
    }
    types.sort_by_key(|t| t.name);
    for t in &mut types {
        t.fields.sort_by_key(|f| f.name);
    }
    write(&types, &groups)
}

fn field<'a>(numbers: &str, name: &'a str, ty: &'a str, options: &[&'a str]) -> Field<'a> {
    let numbers = match numbers {
        "-" => Vec::new(),
        dotted => dotted.split('.').map(|n| n.parse().unwrap_or_else(|_| panic!("bad number {dotted}"))).collect(),
    };
    let bare = name.trim_end_matches(['*', '!', '=']);
    let flags = &name[bare.len()..];
    Field {
        numbers,
        name: bare,
        pointer: flags.contains('*'),
        written: flags.contains(['!', '=']),
        required: flags.contains('!'),
        ty,
        options: options.to_vec(),
    }
}

fn write(types: &[Type], groups: &BTreeMap<&str, &str>) -> String {
    let index: BTreeMap<&str, usize> = types.iter().enumerate().map(|(i, t)| (t.name, i)).collect();
    let mut merges: Vec<String> = vec![merge(&[])];
    let mut rows = String::new();
    for t in types {
        writeln!(rows, "TypeRow {{ name: {:?}, kind: {}, atomic: {}, fields: &[", t.name, t.kind, t.atomic).unwrap();
        for f in &t.fields {
            let text = merge(&f.options);
            let at = merges.iter().position(|m| *m == text).unwrap_or_else(|| {
                merges.push(text);
                merges.len() - 1
            });
            writeln!(
                rows,
                "FieldRow {{ name: {:?}, ty: {}, merge: {at}, pointer: {}, written: {}, required: {}, wrapped: {}, off: {} }},",
                f.name,
                ty(f.ty, &index),
                f.pointer,
                f.written,
                f.required,
                f.options.contains(&"wrapped"),
                f.options.contains(&"off"),
            )
            .unwrap();
        }
        let wire: Vec<(&[u32], usize)> = t.fields.iter().enumerate().map(|(i, f)| (f.numbers.as_slice(), i)).collect();
        writeln!(rows, "], wire: &[{}] }},", wire_rows(&wire)).unwrap();
    }
    let mut kinds: Vec<(&str, &str, &str, usize)> = types
        .iter()
        .enumerate()
        .filter(|(_, t)| t.kind)
        .filter_map(|(i, t)| {
            let (package, rest) = t.name.split_once('/')?;
            let (version, kind) = rest.split_once('.')?;
            // Machinery's own objects (Status, DeleteOptions, …) call themselves `v1`, partial metadata does not.
            let group = if kind.starts_with("Partial") { "meta.k8s.io" } else { "" };
            Some((groups.get(package).copied().unwrap_or(group), version, kind, i))
        })
        .collect();
    kinds.sort_unstable();
    format!(
        "pub(super) static TYPES: &[TypeRow] = &[\n{rows}];\n\
         pub(super) static MERGES: &[Merge] = &[\n{}\n];\n\
         pub(super) static KINDS: &[(&str, &str, &str, u16)] = &{kinds:?};\n",
        merges.join(",\n"),
    )
}

/// Wire rows in ascending order of number, inlined messages as nested tables.
fn wire_rows(fields: &[(&[u32], usize)]) -> String {
    let mut by_number: BTreeMap<u32, Vec<(&[u32], usize)>> = BTreeMap::new();
    for (numbers, index) in fields {
        if let [first, rest @ ..] = numbers {
            by_number.entry(*first).or_default().push((rest, *index));
        }
    }
    let mut out = String::new();
    for (number, inside) in by_number {
        match inside.as_slice() {
            [([], index)] => write!(out, "WireRow::Field({number}, {index}), ").unwrap(),
            nested => write!(out, "WireRow::Inline({number}, &[{}]), ", wire_rows(nested)).unwrap(),
        }
    }
    out
}

fn ty(text: &str, index: &BTreeMap<&str, usize>) -> String {
    if let Some(item) = text.strip_prefix("[]") {
        return format!("Ty::List(&{})", ty(item, index));
    }
    if let Some(item) = text.strip_prefix("{}") {
        return format!("Ty::Map(&{})", ty(item, index));
    }
    match text {
        "string" => "Ty::String".into(),
        "bytes" => "Ty::Bytes".into(),
        "bool" => "Ty::Bool".into(),
        "int32" => "Ty::Int32".into(),
        "int64" => "Ty::Int64".into(),
        "double" => "Ty::Double".into(),
        "JSON" => "Ty::Json".into(),
        "Quantity" | "Time" | "MicroTime" | "IntOrString" | "RawExtension" | "FieldsV1" => {
            format!("Ty::{text}")
        }
        "SchemaOrArray" | "SchemaOrBool" | "SchemaOrStringArray" => {
            format!("Ty::Union(Union::{text})")
        }
        name => format!("Ty::Named({})", index.get(name).unwrap_or_else(|| panic!("unknown type {name}"))),
    }
}

fn merge(options: &[&str]) -> String {
    let value = |key: &str| options.iter().find_map(|o| o.strip_prefix(key)).unwrap_or("");
    let keys: Vec<&str> = value("map=").split(',').filter(|k| !k.is_empty()).collect();
    let lists = if !keys.is_empty() {
        "Map"
    } else if options.contains(&"set") {
        "Set"
    } else {
        "Atomic"
    };
    let merge_key = if value("merge=").is_empty() { value("key=") } else { value("merge=") };
    format!(
        "Merge {{ lists: Lists::{lists}, keys: &{keys:?}, atomic: {}, patch_merge: {}, patch_retain_keys: {}, \
         patch_replace: {}, granular: {}, merge_key: {merge_key:?} }}",
        options.contains(&"atomic"),
        options.iter().any(|o| *o == "merge" || o.starts_with("merge=")),
        options.contains(&"retainKeys"),
        options.contains(&"replace"),
        options.contains(&"granular"),
    )
}
