"""what an API said is called at public addresses only

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Who wrote a version was not kept. Of an agent that is the file's, all stays trusted. One that came
# through an API may have been made from the account's template: of its URLs those are trusted that
# an agent of the file's has, too, as they were when it was made.
OF_AGENTS = """
    with named as (
        select v.agent_id, v.number, a.account_id, a.source, found.url
        from agent_versions v join agents a on a.id = v.agent_id,
            lateral (
                select jsonb_path_query(v.engine, '$.**.url') url
                union select jsonb_path_query(v.engine, '$.**.base_url')
            ) found
        where jsonb_typeof(found.url) = 'string'
    ),
    trusted as materialized (select distinct account_id, url from named where source = 'file'),
    kept as (
        select agent_id, number, jsonb_agg(url order by url) urls
        from named join trusted using (account_id, url) where source = 'api'
        group by agent_id, number
    )
    update agent_versions v set private_urls = coalesce(
        (select urls from kept k where k.agent_id = v.agent_id and k.number = v.number), '[]'
    )
    from agents a where a.id = v.agent_id and a.source = 'api'
"""
OF_CARRIERS = """
    update carriers set public_only = true
    where source = 'api' and base_url not in ('', 'https://api.twilio.com')
"""


def upgrade() -> None:
    op.add_column("agent_versions", sa.Column("private_urls", JSONB()))
    op.add_column(
        "carriers",
        sa.Column("public_only", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    )
    op.execute(OF_AGENTS)
    op.execute(OF_CARRIERS)


def downgrade() -> None:
    op.drop_column("carriers", "public_only")
    op.drop_column("agent_versions", "private_urls")
