//! The body of a deletion.

use serde_json::{Value, json};

use super::super::*;
use crate::resources::GroupVersionKind;

#[test]
fn options_of_a_deletion_are_of_any_version_and_of_no_other_kind() {
    let mut bare = json!({"dryRun": ["All"]});
    identify_delete_options(&mut bare).unwrap();
    assert_eq!(bare, json!({"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions", "dryRun": ["All"]}));
    for version in ["v1", "apps/v9"] {
        assert!(identify_delete_options(&mut json!({"apiVersion": version, "kind": "DeleteOptions"})).is_ok());
    }
    let scheme = "in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"";
    for (mut other, why) in [
        (json!({"kind": "X"}), format!("no kind \"X\" is registered for version \"meta.k8s.io/v1\" {scheme}")),
        (
            json!({"kind": "Pod", "apiVersion": "v1"}),
            format!("no kind \"Pod\" is registered for version \"v1\" {scheme}"),
        ),
        (
            json!({"kind": "Status", "apiVersion": "v1"}),
            "converting (v1.Status) to (v1.DeleteOptions): unknown conversion".to_owned(),
        ),
    ] {
        let status = identify_delete_options(&mut other).unwrap_err();
        assert_eq!((status.code, status.message), (400, why));
    }
}

#[test]
fn options_that_do_not_decode_are_refused_in_the_decoder_s_words() {
    let options = Schema::named("meta/v1.DeleteOptions").unwrap();
    let gvk = GroupVersionKind::new("", "v1", "DeleteOptions");
    let of = |read: Result<Value, DecodeError>| read.unwrap_err().into_status_of_options().message;
    let json = |body: &str| {
        of(super::json(body.as_bytes(), &options, FieldValidation::Ignore, Limits::default()).map(|own| own.object))
    };
    assert_eq!(json("{"), "couldn't get version/kind; json parse error: unexpected end of JSON input");
    let uid = "json: cannot unmarshal number into Go struct field Preconditions.preconditions.uid of type types.UID";
    assert_eq!(json(r#"{"preconditions":{"uid":1}}"#), uid);
    assert_eq!(json(r#"{"apiVersion":"a/b/c"}"#), "unexpected GroupVersion string: a/b/c");
    let proto = |body: &[u8]| of(crate::proto::decode(body, Some(&gvk), Limits::default()));
    assert_eq!(proto(b"k8s\0"), "empty body");
    assert_eq!(proto(b"k8s\0abc"), "unexpected EOF");
    assert_eq!(proto(b"x"), "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
}
