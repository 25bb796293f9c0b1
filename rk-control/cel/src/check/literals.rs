//! Literals: elements of one type, and fields that the made type has.

use super::Checker;
use super::calls::{Bound, accepts};
use crate::ast::{Entry, Expr};
use crate::types::Type;

impl<'e> Checker<'e> {
    /// The type of an entry's value; that of what is inside when it is optional.
    fn entry<K>(&mut self, entry: &'e Entry<K>) -> Type {
        let ty = self.of(&entry.value);
        if !entry.optional {
            return ty;
        }
        match ty {
            Type::Optional(inner) => (*inner).clone(),
            ty if ty.is_dyn() => ty,
            ty => self.wrong(entry.at, format!("expected type 'optional_type({ty})' but found '{ty}'")),
        }
    }

    /// One type for all elements; the first that differs is an error.
    fn common(&mut self, known: Option<Type>, at: u32, ty: Type) -> Option<Type> {
        let Some(known) = known else { return Some(ty) };
        let mut bound = Bound::new();
        if self.mixed || accepts(&known, &ty, &mut bound) || accepts(&ty, &known, &mut bound) {
            return Some(known.join(&ty));
        }
        self.wrong(at, format!("expected type '{known}' but found '{ty}'"));
        Some(known)
    }

    pub(super) fn list(&mut self, items: &'e [Entry<()>]) -> Type {
        let mut item = None;
        let mut elements = Vec::with_capacity(items.len());
        for entry in items {
            let ty = self.entry(entry);
            elements.push(ty.clone());
            item = self.common(item, entry.value.at, ty);
        }
        self.elements = elements;
        Type::list(item.unwrap_or(Type::OPEN))
    }

    pub(super) fn map(&mut self, entries: &'e [Entry<Expr>]) -> Type {
        let (mut key, mut value) = (None, None);
        for entry in entries {
            let (of_key, of_value) = (self.of(&entry.key), self.entry(entry));
            let of_key = match of_key {
                ty @ (Type::String | Type::Int | Type::Uint | Type::Bool) => ty,
                ty if ty.is_dyn() => ty,
                ty => self.wrong(entry.key.at, format!("unsupported key type: {ty}")),
            };
            key = self.common(key, entry.key.at, of_key);
            value = self.common(value, entry.value.at, of_value);
        }
        Type::map(key.unwrap_or(Type::OPEN), value.unwrap_or(Type::OPEN))
    }

    pub(super) fn made(&mut self, at: u32, name: &str, fields: &'e [Entry<String>]) -> Type {
        let ty = self.env.structure(name);
        if ty.is_none() {
            self.undeclared(at, name);
        }
        for field in fields {
            let given = self.entry(field);
            let Some(Type::Record(record)) = &ty else { continue };
            match record.field(&field.key) {
                None => {
                    self.wrong(field.at, format!("undefined field '{}'", field.key));
                }
                Some(wanted) if !accepts(&wanted, &given, &mut Bound::new()) => {
                    let why =
                        format!("expected type of field '{}' is '{wanted}' but provided type is '{given}'", field.key);
                    self.wrong(field.at, why);
                }
                Some(_) => {}
            }
        }
        ty.unwrap_or(Type::Error)
    }
}
