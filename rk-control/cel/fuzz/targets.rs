//! What is done with outside bytes. Nothing of it may panic, and nothing may take long.

use rk_cel::{Context, Env, Type, Value};

/// Compiles and runs an expression against a small object.
pub fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let env = Env::new().with("object", Type::Dyn).with("authorizer", rk_cel::authorizer()).with_structures();
    let env = env.with_bindings();
    let program = match env.compile(text) {
        Ok(program) => program,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    let object = serde_json::json!({"a": [1, 2.5, "x", null, true], "m": {"k": "v"}, "n": 3, "s": "text"});
    let mut context = Context::new(100_000);
    context.set("object", Value::json(&object));
    if let Ok(value) = context.run(&program, 100_000) {
        let _ = value.to_json();
    }
}
