//! Templates of `format` that are written out: what they ask for is there, and fits.

use super::Checker;
use crate::ast::{Expr, Kind, Literal};
use crate::lib;
use crate::types::Type;

impl<'e> Checker<'e> {
    /// Judges a template by the list that it is given; both must be literals.
    pub(super) fn template(&mut self, at: u32, args: &'e [Expr]) {
        let types = std::mem::take(&mut self.elements);
        let [Expr { kind: Kind::Literal(Literal::Text(template)), .. }, Expr { kind: Kind::List(items), .. }] = args
        else {
            return;
        };
        let judged = lib::fill_template(template, items.len(), &mut |index, verb, _| match types.get(index) {
            Some(ty) if !takes(verb, ty) => Err(lib::refusal(verb, name(ty))),
            _ => Ok(String::new()),
        });
        let why = match judged {
            Ok((_, asked)) if asked == items.len() => return,
            Ok((_, asked)) => {
                format!("too many arguments supplied to string.format (expected {asked}, got {})", items.len())
            }
            Err(trouble) => {
                let arg = trouble.arg.and_then(|index| items.get(index));
                self.wrong(arg.map_or(at, |item| item.value.at), trouble.why);
                return;
            }
        };
        self.wrong(at, why);
    }
}

/// Whether a clause takes values of a type.
fn takes(verb: char, ty: &Type) -> bool {
    if ty.is_dyn() {
        return true;
    }
    match verb {
        's' => !matches!(ty, Type::Optional(_) | Type::Record(_) | Type::Opaque(_)),
        'd' | 'o' => matches!(ty, Type::Int | Type::Uint),
        'f' | 'e' => matches!(ty, Type::Double | Type::String),
        'b' => matches!(ty, Type::Int | Type::Uint | Type::Bool),
        _ => matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes),
    }
}

/// The name of a type without what it holds.
fn name(ty: &Type) -> &str {
    match ty {
        Type::Dyn | Type::Error | Type::Var(_) => "dyn",
        Type::Null => "null_type",
        Type::Bool => "bool",
        Type::Int => "int",
        Type::Uint => "uint",
        Type::Double => "double",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Timestamp => "google.protobuf.Timestamp",
        Type::Duration => "google.protobuf.Duration",
        Type::List(_) => "list",
        Type::Map(..) => "map",
        Type::Optional(_) => "optional_type",
        Type::Record(record) => record.name(),
        Type::Type(_) => "type",
        Type::Opaque(name) => name,
    }
}
