"""What can be done in a conversation, and what follows when time passes in it.

verbs           what customer and agent say and do
handoff         who has the conversation: every change of its status
waiting         the line: its order and places
estimates       how long a place in it may take
availability    whether somebody can come, and when
hours           when people are at work
timetable       the week's times and holidays, in a time zone
presence        whether the customer's page is open
rounds          how what follows when time passes is looked for
duty            people come on duty and leave it
absences        customers go away and come back
idle            nothing more is said
contact         how a customer is reached who has left
records         why a person was asked for, and how it ended
audit           who did what, for ever
people          an agent, as all of these know one
states          a session as its client needs it to begin with
"""
