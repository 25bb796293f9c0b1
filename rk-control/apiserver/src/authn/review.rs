//! TokenReview and SelfSubjectReview.

use rk_api::status::Status;
use serde_json::{Value, json};

use super::{User, authenticate_token};
use crate::server::Core;

/// Fills in the status of a TokenReview.
///
/// # Errors
/// 400 without a token; the objects to check it against cannot be read.
pub async fn token_review(core: &Core, mut review: Value) -> Result<Value, Status> {
    let token = rk_api::meta::text(&review, &["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = rk_api::meta::at(&review, &["spec", "audiences"])
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    review["status"] = match authenticate_token(core, &token, &audiences).await? {
        Ok((user, valid_for)) => {
            let mut status = json!({"authenticated": true, "user": user.to_json()});
            if !audiences.is_empty() || !valid_for.is_empty() {
                status["audiences"] = json!(valid_for);
            }
            status
        }
        Err(why) => json!({"user": {}, "error": told(&why)}),
    };
    Ok(review)
}

/// Every way to know a token says that this is none, in one sentence, and the way of service accounts may say why.
fn told(why: &str) -> String {
    let none = "invalid bearer token";
    if why.is_empty() { none.to_owned() } else { format!("[{none}, {why}]") }
}

/// Fills in the status of a SelfSubjectReview.
#[must_use]
pub fn self_subject_review(user: &User, mut review: Value) -> Value {
    review["status"] = json!({"userInfo": user.to_json()});
    review
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_behind_the_sentence_that_there_is_always() {
        assert_eq!(told(""), "invalid bearer token");
        let want = "[invalid bearer token, service account token has expired]";
        assert_eq!(told("service account token has expired"), want);
    }
}
