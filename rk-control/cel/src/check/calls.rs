//! Which ways of calling a function fit the types of the arguments.

use super::Checker;
use crate::ast::{Expr, Kind, Literal};
use crate::lib;
use crate::registry::Overload;
use crate::types::Type;

/// What the parameters of a function's type stand for in one call.
pub(super) type Bound = Vec<(char, Type)>;

/// Whether a value of type `given` may stand where `wanted` is asked for.
pub(super) fn accepts(wanted: &Type, given: &Type, bound: &mut Bound) -> bool {
    match (wanted, given) {
        (Type::Var(name), given) => match bound.iter().position(|(own, _)| own == name) {
            None => {
                bound.push((*name, given.clone()));
                true
            }
            Some(index) => {
                let known = bound.get(index).map_or(Type::Dyn, |(_, ty)| ty.clone());
                let (there, back) = (accepts(&known, given, &mut Vec::new()), accepts(given, &known, &mut Vec::new()));
                if let Some(slot) = bound.get_mut(index).filter(|_| there || back) {
                    slot.1 = known.join(given);
                }
                there || back
            }
        },
        (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error | Type::Var(_)) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) | (Type::Type(a), Type::Type(b)) => {
            accepts(a, b, bound)
        }
        (Type::Map(a, v), Type::Map(b, w)) => accepts(a, b, bound) && accepts(v, w, bound),
        (Type::Record(_) | Type::Timestamp | Type::Duration | Type::Opaque(_) | Type::Optional(_), Type::Null) => true,
        (a, b) => a.same(b),
    }
}

fn filled(ty: &Type, bound: &Bound) -> Type {
    match ty {
        Type::Var(name) => bound.iter().find(|(own, _)| own == name).map_or(Type::OPEN, |(_, ty)| ty.clone()),
        Type::List(item) => Type::list(filled(item, bound)),
        Type::Optional(inner) => Type::optional(filled(inner, bound)),
        Type::Map(key, value) => Type::map(filled(key, bound), filled(value, bound)),
        other => other.clone(),
    }
}

/// What a function makes of a constant before anything runs; a constant that it cannot read is an error at once.
fn reads(name: &str, text: &str) -> bool {
    match name {
        "matches" => lib::pattern(text).is_ok(),
        "timestamp" => lib::parse_time(text).is_some(),
        "duration" => lib::parse_duration(text).is_some(),
        _ => true,
    }
}

impl<'e> Checker<'e> {
    fn constants(&mut self, name: &str, args: &'e [Expr]) {
        let judged = if matches!(name, "timestamp" | "duration") { args.first() } else { args.get(1) };
        let Some(Expr { at, kind: Kind::Literal(Literal::Text(text)), .. }) = judged else { return };
        if !reads(name, text) {
            self.wrong(*at, format!("invalid {name} argument"));
        }
    }

    pub(super) fn call(
        &mut self,
        at: u32,
        name: &str,
        overloads: &'static [Overload],
        member: bool,
        args: &'e [Expr],
    ) -> Type {
        let operator = name.contains('_') && !name.starts_with(char::is_alphabetic) || name.starts_with('@');
        let before = self.mixed;
        self.mixed |= member && name == "format";
        let types: Vec<Type> = args.iter().map(|arg| self.of(arg)).collect();
        self.mixed = before;
        if overloads.is_empty() {
            return self.undeclared(at, name);
        }
        self.constants(name, args);
        if member && name == "format" {
            self.template(at, args);
        }
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| operator || overload.member == member) {
            let mut bound = Bound::new();
            if overload.params.len() != types.len()
                || !overload.params.iter().zip(&types).all(|(wanted, given)| accepts(wanted, given, &mut bound))
            {
                continue;
            }
            let ty = filled(&overload.result, &bound);
            result = Some(match result {
                Some(before) if !before.same(&ty) => Type::Dyn,
                _ => ty,
            });
        }
        result.unwrap_or_else(|| {
            let shown: Vec<String> = types.iter().map(Type::to_string).collect();
            let applied = match shown.split_first() {
                Some((on, rest)) if member => format!("{on}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            self.wrong(at, format!("found no matching overload for '{name}' applied to '{applied}'"))
        })
    }
}
