"""A second organization in the same deployment, with people of its own, for tests of what it must not see."""

from tests.support.house import House, Person
from valetkey.server.ids import new_id
from valetkey.server.principals import store
from valetkey.server.principals.model import Organization, Role, Status, User


async def other_organization(house: House, email: str = "mallory@evil.example") -> Person:
    """Its first administrator, signed in. There is no address that makes one, so its rows are written directly."""
    services = house.app.mount._services
    org = Organization(id=new_id("org"), name="evil", default_ceiling=("github:repo:write@*",))
    founder = User(
        id=new_id("usr"), org=org.id, email="founder@evil.example", role=Role.ADMINISTRATOR, status=Status.ACTIVE
    )
    async with house.app.database.write() as tx:
        await store.add_organization(tx, org, now=int(house.clock.now()))
        await store.add_user(tx, founder, now=int(house.clock.now()))
    user, code = await services.enroll.invite(email, Role.ADMINISTRATOR, by=founder)
    reply = await house.call("POST", "/v1/login", json={"code": code.reveal()})
    return await Person(house, user.id, email, reply.json()["credential"]).sign_in()
