"""What OpenAPI says of our routes for keys, key pairs, JWT apps and the account."""

from textback.dialects.native import access_wire as wire
from textback.dialects.native.describing import path_id, route
from textback.dialects.native.paging import Page, Query
from textback.dialects.native.webhook_wire import Rotate

_KEY = [path_id("key_id", wire.KEY, "key_01kk2v5m7xq1t8c9d0e2f3g4h5")]
_PAIR = [path_id("pair_id", wire.PAIR, "nxf_0123456789abcdef0123456789abcdef")]
_APP = [path_id("client_id", wire.APP, "cs-01927c3a-7b2e-7c4d-8e5f-0123456789ab")]
_NO_KEY = {404: "Your account has no such key."}
_NO_PAIR = {404: "Your account has no such pair."}
_NO_APP = {404: "Your account has no such app."}
_REVOKED = {409: "It is revoked, or expired."}
_ROTATED = {
    409: "It is revoked, or expired; or the one before the old one works yet, and nobody insists "
    "(`again`)."
}
_MORE = {
    403: "Your key lacks the scope manage, or would make one that may do more, or works longer, "
    "than itself."
}
_FILE = {409: "The provisioning file manages it."}
_NAMED = {409: "There is one of that name already, or there was."}

KEYS = "/v1/admin/api-keys"
KEY = KEYS + "/{key_id}"
PAIRS = "/v1/admin/key-pairs"
PAIR = PAIRS + "/{pair_id}"
APPS = "/v1/admin/jwt-apps"
APP = APPS + "/{client_id}"
ACCOUNT = "/v1/admin/account"

LIST_KEYS = route(
    "listApiKeys",
    "The account's keys, oldest first",
    "The revoked ones too. No key is shown.",
    Page[wire.Key],
    query=Query,
)
GET_KEY = route("getApiKey", "One key", "Without the key.", wire.Key, path=_KEY, problems=_NO_KEY)
CREATE_KEY = route(
    "createApiKey",
    "Make a key",
    "The answer shows it, this once: only a hash is kept.",
    wire.MadeKey,
    wire.NewKey,
    status=201,
    problems=_MORE | _NAMED,
)
CHANGE_KEY = route(
    "changeApiKey",
    "Change a key's name, scopes or end",
    "At once.",
    wire.Key,
    wire.ChangedKey,
    path=_KEY,
    problems=_NO_KEY | _MORE | {409: "It is revoked, or the name is taken or the file's."},
)
ROTATE_KEY = route(
    "rotateApiKey",
    "Another key in place of this one",
    "The old one works for `grace_seconds` yet (a day, if not said otherwise), so that callers can "
    "change over. Only the latest two work: until that time is over, another needs `again`.",
    wire.MadeKey,
    wire.RotatedKey,
    path=_KEY,
    problems=_NO_KEY | _MORE | _ROTATED,
)
REVOKE_KEY = route(
    "revokeApiKey", "Revoke a key", "At once.", {}, path=_KEY, status=204, problems=_NO_KEY | _FILE
)

LIST_PAIRS = route(
    "listKeyPairs",
    "The account's key pairs, by their ids",
    "For clients of Nixflex' API. The revoked ones too. No secret is shown.",
    Page[wire.Key],
    query=Query,
)
GET_PAIR = route(
    "getKeyPair", "One key pair", "Without its secret.", wire.Key, path=_PAIR, problems=_NO_PAIR
)
CREATE_PAIR = route(
    "createKeyPair",
    "Make a key pair",
    "For clients of Nixflex' API, whose token is `ID:SECRET`. Only a hash is kept.",
    wire.MadePair,
    wire.NewPair,
    status=201,
    problems=_MORE | _NAMED,
)
ROTATE_PAIR = route(
    "rotateKeyPair",
    "Another secret for a pair",
    "At once, unless `grace_seconds` says how long the old one works yet. The id stays.",
    wire.MadePair,
    wire.RotatedPair,
    path=_PAIR,
    problems=_NO_PAIR | _MORE | _ROTATED,
)
REVOKE_PAIR = route(
    "revokeKeyPair",
    "Revoke a key pair",
    "At once.",
    {},
    path=_PAIR,
    status=204,
    problems=_NO_PAIR | _FILE,
)

LIST_APPS = route(
    "listJwtApps",
    "The account's JWT apps, by their ids",
    "For clients of Kore.ai's API. The revoked ones too. No secret is shown.",
    Page[wire.App],
    query=Query,
)
GET_APP = route(
    "getJwtApp", "One JWT app", "Without its secret.", wire.App, path=_APP, problems=_NO_APP
)
CREATE_APP = route(
    "createJwtApp",
    "Make a JWT app",
    "For clients of Kore.ai's API, who sign their tokens with its secret (HS256). The secret is "
    "kept sealed, and shown this once.",
    wire.MadeApp,
    wire.NewApp,
    status=201,
    problems=_MORE,
)
CHANGE_APP = route(
    "changeJwtApp",
    "Change a JWT app's name, scopes or rules",
    "At once.",
    wire.App,
    wire.ChangedApp,
    path=_APP,
    problems=_NO_APP | _MORE | _REVOKED,
)
ROTATE_APP = route(
    "rotateJwtApp",
    "Another secret for a JWT app",
    "At once: tokens that the old one signed are refused.",
    wire.MadeApp,
    wire.Nothing,
    path=_APP,
    problems=_NO_APP | _MORE | _REVOKED,
)
REVOKE_APP = route(
    "revokeJwtApp",
    "Revoke a JWT app",
    "At once.",
    {},
    path=_APP,
    status=204,
    problems=_NO_APP | _FILE,
)

GET_ACCOUNT = route("getAccount", "Your account", "Its settings beside what it has.", wire.Account)
CHANGE_ACCOUNT = route(
    "changeAccount",
    "Change your account's settings",
    "At once.",
    wire.Account,
    wire.ChangedAccount,
)
WEBHOOK_SECRET = route(
    "renewWebhookSecret",
    "Another secret for the webhooks of single conversations",
    "From now on it signs what dialects post to the URL that a send named, and to webhooks without "
    "a secret of their own. It is shown this once. The one before signs as well for "
    "`grace_seconds` (a day, if not said otherwise); in Bland's format, which has room for one "
    "signature, the new one alone.",
    wire.WebhookSecret,
    Rotate,
)
