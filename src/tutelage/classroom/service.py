"""All that a request can ask of an experiment. Each function is one transaction and knows nothing of HTTP."""

from .answering import advance as advance
from .answering import answer as answer
from .arrivals import Arrival as Arrival
from .arrivals import consent as consent
from .arrivals import decline as decline
from .arrivals import restart as restart
from .arrivals import screen_out as screen_out
from .arrivals import welcome as welcome
from .completion import redeem as redeem
from .links import make_links as make_links
from .pages import image as image
from .pages import page as page
from .previews import preview as preview
from .previews import preview_image as preview_image
from .removal import purge as purge
from .removal import purge_raw_ids as purge_raw_ids
from .removal import withdraw as withdraw
from .removal import withdraw_by_code as withdraw_by_code
from .room import Room as Room
from .room import open_room as open_room
from .room import record as record
from .room import set_status as set_status
from .room import status as status
