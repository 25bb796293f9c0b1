//! Query parameters.

/// Decoded parameters of a query, in order.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Parses a query string.
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a key.
    pub fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    /// Whether any of the keys is set to true.
    pub fn is_set(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| matches!(self.get(key), Some("1" | "true" | "True" | "TRUE" | "t")))
    }

    /// A number; an error names the key.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        match self.get(key).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| format!("invalid value {text:?} of {key}")),
        }
    }
}

/// Percent and plus decoding; what is not a valid escape stays as it is.
pub(super) fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => match escaped(bytes.clone()) {
                Some(value) => {
                    out.push(value);
                    bytes.nth(1);
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escaped(mut ahead: std::str::Bytes<'_>) -> Option<u8> {
    let mut digit = || char::from(ahead.next()?).to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_broken_ones_survive() {
        let params = Params::parse(Some("command=sh&command=-c&command=echo%20a+b&tty=1&x=%zz&y=%4&=z"));
        assert_eq!(params.all("command"), ["sh", "-c", "echo a b"]);
        assert!(params.is_set(&["tty"]) && !params.is_set(&["stdin"]));
        assert_eq!(params.get("x"), Some("%zz"));
        assert_eq!(params.get("y"), Some("%4"));
        assert!(params.number::<u64>("x").is_err());
    }
}
