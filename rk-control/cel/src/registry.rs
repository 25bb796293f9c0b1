//! Every function by name: what the checker lets through and what the evaluator calls.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::eval::{Context, Failure};
use crate::lib;
use crate::types::Type;
use crate::value::Value;

/// What a function does. Its arguments fit its parameters.
pub(crate) type Body = for<'a, 'c> fn(&'c mut Context<'a>, &'c [Value<'a>]) -> Result<Value<'a>, Failure>;

/// A row of the tables of functions: name, signature, body.
///
/// A signature is a word: a leading dot for calls on a value, one letter for each parameter, `>`, and the result. `B` bool, `I` int,
/// `U` uint, `D` double, `S` string, `Y` bytes, `T` timestamp, `R` duration, `N` null, `*` dyn, `t` type, `a` and `b` any one type,
/// `L`x list, `M`xy map, `O`x optional; see [`opaque`] for the rest.
pub(crate) struct Row(pub(crate) &'static str, pub(crate) &'static str, pub(crate) Body);

/// One way of calling a function.
pub(crate) struct Overload {
    pub(crate) member: bool,
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) call: Body,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}>{:?}", self.params, self.result)
    }
}

/// Types of the library, by their letter.
fn opaque(letter: char) -> Option<&'static str> {
    Some(match letter {
        'Q' => lib::QUANTITY,
        'W' => lib::URL,
        'P' => lib::IP,
        'C' => lib::CIDR,
        'V' => lib::SEMVER,
        'F' => lib::FORMAT,
        'Z' => lib::AUTHORIZER,
        'p' => lib::PATH_CHECK,
        'g' => lib::GROUP_CHECK,
        'r' => lib::RESOURCE_CHECK,
        'd' => lib::DECISION,
        _ => return None,
    })
}

fn read(letters: &mut std::str::Chars<'_>) -> Option<Type> {
    Some(match letters.next()? {
        'B' => Type::Bool,
        'I' => Type::Int,
        'U' => Type::Uint,
        'D' => Type::Double,
        'S' => Type::String,
        'Y' => Type::Bytes,
        'T' => Type::Timestamp,
        'R' => Type::Duration,
        'N' => Type::Null,
        '*' => Type::Dyn,
        't' => Type::Type(Arc::new(Type::Dyn)),
        'L' => Type::list(read(letters)?),
        'O' => Type::optional(read(letters)?),
        'M' => Type::map(read(letters)?, read(letters)?),
        var @ ('a' | 'b') => Type::Var(var),
        letter => Type::Opaque(opaque(letter)?),
    })
}

fn overload(row: &Row) -> Option<Overload> {
    let (params, result) = row.1.split_once('>')?;
    let member = params.starts_with('.');
    let mut letters = params.trim_start_matches('.').chars();
    let mut types = Vec::new();
    while let Some(ty) = read(&mut letters) {
        types.push(ty);
    }
    Some(Overload { member, params: types, result: read(&mut result.chars())?, call: row.2 })
}

/// The ways of calling a function; none when there is no such function.
pub(crate) fn overloads(name: &str) -> &'static [Overload] {
    static ALL: OnceLock<HashMap<&'static str, Vec<Overload>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut all: HashMap<&'static str, Vec<Overload>> = HashMap::new();
        for row in lib::TABLES.iter().copied().flatten() {
            all.entry(row.0).or_default().extend(overload(row));
        }
        all
    });
    all.get(name).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_can_be_read() {
        for row in lib::TABLES.iter().copied().flatten() {
            let read = overload(row).unwrap_or_else(|| panic!("{} {}", row.0, row.1));
            let letters = row.1.split('>').next().unwrap().trim_start_matches('.');
            assert!(letters.is_empty() == read.params.is_empty(), "{}", row.1);
        }
    }
}
