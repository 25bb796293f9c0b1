//! Selectors of devices (KEP-4381): what they may refer to, and whether a device is one that they mean.

use std::sync::{Arc, OnceLock};

use rk_api::meta::Quantity;

use crate::lib::Semver;
use crate::{Context, EXPRESSION_LIMIT, Env, Failure, Fields, Program, Text, Type, Value};

/// Longest expression, in bytes; upstream's figure.
pub const LONGEST: usize = 10 * 1024;

/// The type of `device`.
const RECORD: &str = "kubernetes.DRADevice";

/// What an attribute of a device is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// A semantic version.
    Version(&'a str),
}

/// What selectors are told of a device. Names without a domain belong to the driver's.
#[derive(Debug, Clone, Default)]
pub struct Device<'a> {
    /// Its driver.
    pub driver: &'a str,
    /// Whether several claims may share it.
    pub shared: bool,
    /// Attributes by name; one of a kind that is not known has no worth.
    pub attributes: Vec<(&'a str, Option<Attribute<'a>>)>,
    /// Amounts by name.
    pub capacity: Vec<(&'a str, Quantity)>,
}

/// What selectors may refer to.
fn env() -> &'static Env {
    static ENV: OnceLock<Env> = OnceLock::new();
    ENV.get_or_init(|| {
        let by_domain = |values: Type| Type::map(Type::String, Type::map(Type::String, values));
        let device = Fields::record(
            RECORD,
            vec![
                ("driver", Type::String),
                ("attributes", by_domain(Type::Dyn)),
                ("capacity", by_domain(crate::quantity())),
                ("allowMultipleAllocations", Type::Bool),
            ],
        );
        Env::new().with("device", device).with_bindings()
    })
}

/// Compiles a selector.
///
/// # Errors
/// Why it cannot be used, in upstream's words.
pub fn compile(expression: &str) -> Result<Program, String> {
    let program = env().compile(expression).map_err(|error| error.to_string())?;
    if matches!(program.output(), Type::Bool) || program.output().is_dyn() {
        return Ok(program);
    }
    Err(format!("must evaluate to bool or the unknown type, not {}", program.output()))
}

impl<'a> Device<'a> {
    /// The device as expressions see it.
    ///
    /// # Errors
    /// An attribute has a version that is none, or no worth that is known.
    pub fn value(&self) -> Result<Value<'a>, Failure> {
        let attributes = self.attributes.iter().map(|(name, own)| Ok((*name, worth(name, *own)?)));
        let attributes = attributes.collect::<Result<Vec<_>, Failure>>()?;
        let capacity = self.capacity.iter().map(|(name, amount)| (*name, Value::Quantity(*amount))).collect();
        Ok(Value::Made(
            RECORD,
            Arc::new(vec![
                ("driver", Value::Str(Text::Ref(self.driver))),
                ("attributes", by_domain(self.driver, attributes)),
                ("capacity", by_domain(self.driver, capacity)),
                ("allowMultipleAllocations", Value::Bool(self.shared)),
            ]),
        ))
    }
}

fn worth<'a>(name: &str, attribute: Option<Attribute<'a>>) -> Result<Value<'a>, Failure> {
    match attribute {
        Some(Attribute::Bool(own)) => Ok(Value::Bool(own)),
        Some(Attribute::Int(own)) => Ok(Value::Int(own)),
        Some(Attribute::Text(own)) => Ok(Value::Str(Text::Ref(own))),
        Some(Attribute::Version(own)) => Semver::parse(own, false)
            .map(|version| Value::Semver(Arc::new(version)))
            .ok_or_else(|| Failure::new(format!("attribute {name}: parse semantic version: {own:?} is none"))),
        None => Err(Failure::new(format!("attribute {name}: unsupported attribute value"))),
    }
}

fn by_domain<'a>(driver: &'a str, entries: Vec<(&'a str, Value<'a>)>) -> Value<'a> {
    type Entries<'a> = Vec<(Value<'a>, Value<'a>)>;
    let mut domains: Vec<(&'a str, Entries<'a>)> = Vec::new();
    for (name, value) in entries {
        let (domain, own) = name.split_once('/').unwrap_or((driver, name));
        let entry = (Value::Str(Text::Ref(own)), value);
        match domains.iter_mut().find(|(known, _)| *known == domain) {
            Some((_, entries)) => entries.push(entry),
            None => domains.push((domain, vec![entry])),
        }
    }
    let domains = domains.into_iter().map(|(name, own)| (Value::Str(Text::Ref(name)), Value::Map(Arc::new(own))));
    Value::Domains(Arc::new(domains.collect()))
}

/// Whether a selector means a device ([`Device::value`]), and what it cost to find that out, in upstream's units.
///
/// # Errors
/// The selector failed on this device, or costs too much.
pub fn holds<'a>(selector: &'a Program, device: &Value<'a>) -> (Result<bool, Failure>, u64) {
    let mut context = Context::new(EXPRESSION_LIMIT);
    context.set("device", device.clone());
    let outcome = match context.run(selector, EXPRESSION_LIMIT) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => {
            Err(Failure::new(format!("CEL result of type {} could not be converted to bool", other.type_name())))
        }
        Err(failure) => Err(failure),
    };
    (outcome, EXPRESSION_LIMIT - context.left())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(expression: &str) -> Result<bool, String> {
        let device = Device {
            driver: "d.example.com",
            shared: false,
            attributes: vec![
                ("model", Some(Attribute::Text("a"))),
                ("cores", Some(Attribute::Int(8))),
                ("d.example.com/fast", Some(Attribute::Bool(true))),
                ("resource.kubernetes.io/pcieRoot", Some(Attribute::Text("pci0000:00"))),
                ("firmware", Some(Attribute::Version("1.10.0"))),
            ],
            capacity: vec![("memory", "16Gi".parse().expect("an amount"))],
        };
        let program = compile(expression)?;
        let value = device.value().map_err(|failure| failure.to_string())?;
        holds(&program, &value).0.map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_selector_means_what_a_device_tells_of_itself() {
        for (expression, expected) in [
            ("true", true),
            ("device.driver == 'd.example.com'", true),
            ("device.attributes['d.example.com'].model == 'a'", true),
            ("device.attributes['d.example.com'].cores > 8", false),
            ("device.attributes['d.example.com'].fast", true),
            ("device.attributes['resource.kubernetes.io'].pcieRoot == 'pci0000:00'", true),
            ("device.attributes['d.example.com'].firmware.compareTo(semver('1.9.0')) > 0", true),
            ("device.capacity['d.example.com'].memory.compareTo(quantity('16Gi')) == 0", true),
            ("device.capacity['d.example.com'].memory.isGreaterThan(quantity('20Gi'))", false),
            ("has(device.attributes['other.example.com'].model)", false),
            ("'model' in device.attributes['d.example.com']", true),
            ("'other.example.com' in device.attributes", false),
            ("size(device.attributes) == 2", true),
            ("cel.bind(own, device.attributes['d.example.com'], own.fast && own.cores == 8)", true),
            ("device.allowMultipleAllocations", false),
        ] {
            assert_eq!(judged(expression), Ok(expected), "{expression}");
        }
        assert_eq!(judged("device.attributes['other.example.com'].model == 'a'"), Err("no such key: model".to_owned()));
        let not_bool = judged("device.attributes['d.example.com'].model").expect_err("it is text");
        assert_eq!(not_bool, "CEL result of type string could not be converted to bool");
    }

    #[test]
    fn a_device_that_tells_what_cannot_be_read_is_judged_by_no_selector() {
        for (own, why) in [
            (None, "attribute a: unsupported attribute value"),
            (Some(Attribute::Version("1")), "attribute a: parse semantic version: \"1\" is none"),
        ] {
            let device = Device { attributes: vec![("a", own)], ..Device::default() };
            assert_eq!(device.value().map(|_| ()), Err(Failure::Error(why.to_owned())));
        }
    }

    #[test]
    fn what_a_selector_costs_is_told_and_bounded() {
        let device = Device { driver: "d", ..Device::default() }.value().expect("a value");
        let cheap = compile("device.driver == 'd'").expect("it compiles");
        let (outcome, cost) = holds(&cheap, &device);
        assert!(outcome == Ok(true) && cost > 0 && cost < 100, "{cost}");
        let numbers = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let dear = format!("[{numbers}].all(a, [{numbers}].all(b, [{numbers}].all(c, a + b + c >= 0)))");
        let dear = compile(&dear).expect("it compiles");
        assert_eq!(holds(&dear, &device), (Err(Failure::Cost), EXPRESSION_LIMIT));
    }
}
