//! Errors of the API in words for a log: what the server said, not the whole Status object.

use std::error::Error;

/// One text for an error of the client: the server's message, or the chain of causes.
pub fn text(error: &kube::Error) -> String {
    chain(error)
}

/// The error and its sources on one line, without repeating what a text already ends with. Certificates that are not valid now may
/// mean that *now* is wrong: the line tells what this node takes for it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = causes(error);
    if ["certificate expired", "certificate not valid yet"].iter().any(|words| text.contains(words)) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        text.push_str(&format!(
            "; this node's clock says {now}: when that is wrong, set it or name network.ntp.servers"
        ));
    }
    text
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(kube::Error::Api(status)) = of_client(error) {
            append(&mut text, &format!("{} ({})", status.message, status.code));
            return text;
        }
        append(&mut text, &error.to_string());
        next = error.source();
    }
    text
}

/// The client's own error; a boxed one is of another type.
fn of_client<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a kube::Error> {
    error.downcast_ref::<kube::Error>().or_else(|| error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref))
}

/// The code of the first answer of the API server among an error and its sources.
pub fn code(error: &(dyn Error + 'static)) -> Option<u16> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(kube::Error::Api(status)) = of_client(error) {
            return Some(status.code);
        }
        next = error.source();
    }
    None
}

/// What was read of something that is the node's own or nobody's: as upstream's node authorizer, the API forbids a node what does not
/// exist (yet), and answers 403 where others hear 404.
pub fn unless_forbidden<T>(read: Result<Option<T>, kube::Error>) -> Result<Option<T>, kube::Error> {
    match read {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        other => other,
    }
}

fn append(text: &mut String, more: &str) {
    if text.ends_with(more) {
        return;
    }
    if !text.is_empty() {
        text.push_str(": ");
    }
    text.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading x")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn what_a_node_is_forbidden_to_read_of_its_own_is_not_there() {
        let failed = |code: u16| {
            let status = serde_json::json!({"message": "m", "code": code, "reason": "r", "status": "Failure"});
            kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
        };
        assert!(matches!(unless_forbidden::<()>(Err(failed(403))), Ok(None)));
        assert!(unless_forbidden::<()>(Err(failed(500))).is_err());
        assert!(matches!(unless_forbidden(Ok(Some(7))), Ok(Some(7))));
    }

    #[test]
    fn causes_are_joined_once_and_a_status_is_its_message() {
        let io = std::io::Error::other("no route");
        assert_eq!(chain(&Outer(Box::new(io))), "reading x: no route");
        let late = std::io::Error::other("invalid peer certificate: certificate expired: verification time 1");
        let told = chain(&Outer(Box::new(late)));
        assert!(told.contains("this node's clock says 2") && told.contains("network.ntp.servers"), "{told}");
        #[derive(Debug, thiserror::Error)]
        #[error("reading y")]
        struct Boxed(#[source] Box<kube::Error>);
        let status = || {
            serde_json::from_value(serde_json::json!({"message": "pods \"a\" is forbidden", "code": 403, "reason": "Forbidden", "status": "Failure"})).unwrap()
        };
        let error = || kube::Error::Api(Box::new(status()));
        assert_eq!(chain(&Outer(Box::new(error()))), "reading x: pods \"a\" is forbidden (403)");
        assert_eq!(chain(&Boxed(Box::new(error()))), "reading y: pods \"a\" is forbidden (403)");
        assert_eq!((code(&Boxed(Box::new(error()))), code(&std::fmt::Error)), (Some(403), None));
    }
}
