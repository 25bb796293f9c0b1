//! Amounts as clients write and read them.

use super::*;

#[test]
fn amounts_are_written_in_their_canonical_form() {
    for (given, want) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1.5", "1500m"),
        ("0.1", "100m"),
        ("1024Mi", "1Gi"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("512Ki", "512Ki"),
        ("1023", "1023"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("123000", "123k"),
        ("1e3", "1e3"),
        ("12E6", "12e6"),
        ("1E", "1E"),
        ("-5", "-5"),
        ("+5", "5"),
        ("1n", "1n"),
        ("0.0000000001", "1n"),
        (".5", "500m"),
        ("5.", "5"),
        ("9999999999999999999", "9223372036854775807"),
        ("100k", "100k"),
        ("1e-3", "1e-3"),
        ("2.5k", "2500"),
    ] {
        let quantity: Quantity = given.parse().unwrap_or_else(|e| panic!("{given}: {e}"));
        assert_eq!(quantity.to_string(), want, "{given}");
    }
}

#[test]
fn a_unit_without_a_number_is_nothing() {
    for given in [".", "-", "+", "m", "n", "E", "Mi", "-Ti", ".k", "e-9", "E20"] {
        let quantity: Quantity = given.parse().unwrap_or_else(|e| panic!("{given}: {e}"));
        assert!(quantity.is_zero(), "{given}");
    }
}

#[test]
fn malformed_amounts_are_refused_with_the_reason() {
    for (given, want) in [
        ("", QuantityError::Format),
        ("abc", QuantityError::Format),
        ("1 Gi", QuantityError::Format),
        ("1GB", QuantityError::Format),
        ("1iK", QuantityError::Suffix),
        ("1mm", QuantityError::Suffix),
        ("K", QuantityError::Suffix),
        ("e", QuantityError::Suffix),
        ("E+", QuantityError::Suffix),
        ("1-5", QuantityError::Suffix),
        ("1.2.3", QuantityError::Format),
        (".49.", QuantityError::Format),
        ("8e3k", QuantityError::Format),
        ("Pi", QuantityError::Number),
        ("-Ei", QuantityError::Number),
        ("e-12", QuantityError::Number),
    ] {
        assert_eq!(given.parse::<Quantity>(), Err(want), "{given}");
    }
}

#[test]
fn sums_keep_the_format_of_the_first_amount() {
    let parse = |t: &str| t.parse::<Quantity>().unwrap();
    assert_eq!((parse("1Gi") + parse("512Mi")).to_string(), "1536Mi");
    assert_eq!((parse("100m") + parse("0.9")).to_string(), "1");
    assert_eq!((parse("1") - parse("1500m")).to_string(), "-500m");
    assert!(parse("1Gi") > parse("1G"));
    assert_eq!(parse("100m").units(), 1);
    assert_eq!(parse("1.5").millis(), 1500);
}
