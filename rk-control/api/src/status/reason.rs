//! Reasons of failures and their HTTP codes.

/// The machine-readable reason of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing more precise is known.
    Unknown,
    /// 401: no valid credentials.
    Unauthorized,
    /// 403: valid credentials without the right.
    Forbidden,
    /// 404: no such object or resource.
    NotFound,
    /// 409: an object of that name exists.
    AlreadyExists,
    /// 409: the object changed, or another manager owns the field.
    Conflict,
    /// 410: the object is gone for good.
    Gone,
    /// 422: the object breaks a rule.
    Invalid,
    /// 500 or 504: the server asks to try again later.
    ServerTimeout,
    /// 504: no answer in time.
    Timeout,
    /// 429: slow down.
    TooManyRequests,
    /// 400: the request cannot be understood.
    BadRequest,
    /// 405: the resource does not allow this verb.
    MethodNotAllowed,
    /// 406: no representation that the client accepts.
    NotAcceptable,
    /// 413: the body is too long.
    RequestEntityTooLarge,
    /// 415: the body's type is unknown.
    UnsupportedMediaType,
    /// 500: a fault of the server.
    InternalError,
    /// 410: the resource version or continue token is too old.
    Expired,
    /// 503: the server cannot answer now.
    ServiceUnavailable,
}

impl Reason {
    /// The word in `Status.reason`; empty for [`Reason::Unknown`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Unknown => "",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Invalid => "Invalid",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::Timeout => "Timeout",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::BadRequest => "BadRequest",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::InternalError => "InternalError",
            Reason::Expired => "Expired",
            Reason::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The reason of that word; [`Reason::Unknown`] for any other.
    pub fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word).unwrap_or(Reason::Unknown)
    }

    const ALL: [Reason; 18] = [
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Gone,
        Reason::Invalid,
        Reason::ServerTimeout,
        Reason::Timeout,
        Reason::TooManyRequests,
        Reason::BadRequest,
        Reason::MethodNotAllowed,
        Reason::NotAcceptable,
        Reason::RequestEntityTooLarge,
        Reason::UnsupportedMediaType,
        Reason::InternalError,
        Reason::Expired,
        Reason::ServiceUnavailable,
    ];

    /// The HTTP code that goes with the reason.
    pub const fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::Unknown | Reason::InternalError | Reason::ServerTimeout => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }
}
